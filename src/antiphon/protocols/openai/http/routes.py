"""All REST routes of the protocol in one router."""

from __future__ import annotations

from fastapi import APIRouter

from antiphon.protocols.openai.http.chat import chat_routes
from antiphon.protocols.openai.http.models import model_routes
from antiphon.protocols.openai.http.service import Service
from antiphon.protocols.openai.http.sessions import session_routes
from antiphon.protocols.openai.http.speech import speech_routes
from antiphon.protocols.openai.http.transcriptions import transcription_routes

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """Make the router that the application includes.

    Args:
        service: Who calls, engines, secrets and settings.
    """
    made = APIRouter()
    for part in (session_routes, model_routes, transcription_routes, speech_routes, chat_routes):
        made.include_router(part(service))
    return made
