"""What the Python clients share: they run in environments of their own and print one JSON object a line."""

from __future__ import annotations

import array
import json
import math
import sys
from typing import Any

CHUNK_SECONDS = 0.1


def tell(**fact: Any) -> None:
    sys.stdout.write(json.dumps(fact) + "\n")  # in one piece: tools run in threads
    sys.stdout.flush()


def speech(seconds: float, silence: float = 0.0, rate: int = 24_000) -> list[bytes]:
    """A tone, which the server's scripted ear takes for speech, and silence; int16 in chunks of 100 ms."""
    voice = (round(12_000 * math.sin(2 * math.pi * 220 * n / rate)) for n in range(round(seconds * rate)))
    samples = array.array("h", voice)
    samples.extend([0] * round(silence * rate))
    size = round(CHUNK_SECONDS * rate)
    return [samples[n : n + size].tobytes() for n in range(0, len(samples), size)]
