"""The target of atheris: whatever bytes come, the parser gives an event or raises a ``WireError``."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["antiphon.protocols"]):
    from antiphon.protocols.openai.errors import WireError
    from antiphon.protocols.openai.session_object import SessionObject, merge_beta, merge_ga
    from antiphon.protocols.openai.settings import RealtimeSettings
    from antiphon.protocols.openai.wire import SessionUpdate, decode_event

SETTINGS = RealtimeSettings()


def parse(data: bytes) -> None:
    """Decode an event, and what it keeps for later to decode."""
    try:
        event = decode_event(data)
        if isinstance(event, SessionUpdate):
            for merge in (merge_ga, merge_beta):
                merge(SessionObject.default(SETTINGS, "realtime", ""), event.session, SETTINGS)
    except WireError as error:
        assert error.message


if __name__ == "__main__":
    atheris.Setup(sys.argv, parse)
    atheris.Fuzz()
