"""The WebSocket paths of this protocol, ready to be put into the transport's table."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from antiphon.protocols.openai.access import Access
from antiphon.protocols.openai.dialect import BETA, Dialect
from antiphon.protocols.openai.endpoint import RealtimeEndpoint
from antiphon.protocols.openai.errors import WireError, error_event
from antiphon.protocols.openai.handshake import hello
from antiphon.protocols.openai.ids import new_id
from antiphon.protocols.openai.ports import Manager, Secrets
from antiphon.protocols.openai.settings import Authenticate, PromptStore, RealtimeSettings
from antiphon.transports.connection import Accept, Factory, Request

__all__ = ["routes"]


def routes(
    manager: Manager,
    authenticate: Authenticate,
    settings: RealtimeSettings,
    *,
    secrets: Secrets | None = None,
    prompts: PromptStore | None = None,
    relay_path: str | None = "/",
) -> Mapping[str, Factory]:
    """Make the routing table.

    Args:
        manager: Opens the sessions.
        authenticate: Tells who holds a key; awaited after the upgrade, since a bad key is refused on the open socket.
        settings: Defaults and limits.
        secrets: Client secrets (``ek_...``), or None where there are none.
        prompts: Prompts that sessions may name, or None.
        relay_path: A path that speaks beta whatever its client says, in place of the old console's relay, or None.

    Returns:
        Path to the factory that the transport asks about each upgrade. No handshake is rejected: a client that may
        not enter gets 101, then an ``error`` event, then the close code (section 1, rule 2).
    """
    access = Access(authenticate, secrets)

    def factory(dialect: Dialect | None) -> Factory:
        def decide(request: Request) -> Accept:
            said = hello(request, dialect)
            endpoint = RealtimeEndpoint(said, manager, access, settings, prompts)
            return Accept(endpoint, said.subprotocol, _too_big)

        return decide

    table: dict[str, Factory] = {"/v1/realtime": factory(None)}
    if relay_path is not None:
        table[relay_path] = factory(BETA)
    return table


def _too_big(limit: int) -> bytes:
    error = WireError("invalid_value", f"Expected messages of at most {limit} bytes.")
    return msgspec.json.encode({"event_id": new_id("event"), **error_event(error)})
