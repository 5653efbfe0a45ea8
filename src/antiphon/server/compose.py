"""What the server is made of: which services start with it and which protocols it speaks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from fastapi import FastAPI

from antiphon.server.app import create_app
from antiphon.server.settings import Settings

__all__ = ["Composition", "compose"]


@dataclass(frozen=True, slots=True)
class Composition:
    """A server, ready to run.

    Attributes:
        app: The application.
        ws_protocol: What takes a connection over that asks for a WebSocket, if anything does.
    """

    app: FastAPI
    ws_protocol: type[asyncio.Protocol] | None = None


def compose(settings: Settings) -> Composition:
    """Put the server together; nothing starts before the application does."""
    return Composition(create_app(settings))
