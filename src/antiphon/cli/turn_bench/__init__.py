"""Turn taking measured: spoken dialogues in virtual time, in the shape of Full-Duplex-Bench v1."""
