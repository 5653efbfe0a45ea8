"""A call seen from outside: recorded, shown live, drawn, and told as JSON. Shared by ``converse`` and ``talk``."""
