"""``/v1/models``: names that clients may ask for. Any other is served as well, by the configured engines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends

from antiphon.errors import ApiError
from antiphon.protocols.openai.http.service import Service

__all__ = ["model_routes"]

_CREATED = 1_767_225_600
"""Clients want a date; that of the first release serves for all."""


def model_routes(service: Service) -> APIRouter:
    """The list, and one of it."""
    router = APIRouter(tags=["models"], dependencies=[Depends(service.caller)])

    @router.get("/v1/models")
    async def models() -> dict[str, Any]:
        """List the models."""
        return {"object": "list", "data": [_view(name) for name in service.models]}

    @router.get("/v1/models/{model}")
    async def model(model: str) -> dict[str, Any]:
        """Show one model."""
        if model not in service.models:
            raise ApiError(404, f"The model {model!r} does not exist.", code="model_not_found", param="model")
        return _view(model)

    return router


def _view(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "antiphon"}
