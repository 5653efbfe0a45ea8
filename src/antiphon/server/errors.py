"""Every error that leaves over HTTP has the shape of OpenAI's API: ``{"error": {...}}``."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from antiphon.errors import AntiphonError, ApiError, StoreError, UsageError

__all__ = ["install_error_handlers"]

_log = logging.getLogger(__name__)


def _respond(error: ApiError) -> JSONResponse:
    headers = {"www-authenticate": "Bearer"} if error.status == 401 else None
    return JSONResponse(error.body(), error.status, headers)


async def _api_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return _respond(error)


async def _antiphon_error(_request: Request, error: Exception) -> JSONResponse:
    """An expected failure that nobody translated on its way: the caller's fault, or the server's state."""
    if isinstance(error, UsageError):
        return _respond(ApiError(400, str(error)))
    _log.error("a request failed: %s", error)
    if isinstance(error, StoreError):
        # The message names the database: for the log, not for callers.
        return _respond(ApiError(503, "The server's database does not answer.", type="server_error"))
    return _respond(ApiError(503, str(error), type="server_error"))


async def _http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = None
    message = str(error.detail)
    if error.status_code == 404:
        code, message = "unknown_url", f"Unknown request URL: {request.method} {request.url.path}."
    elif error.status_code == 405:
        code, message = "method_not_supported", f"Not allowed to {request.method} on {request.url.path}."
    response = _respond(ApiError(error.status_code, message, code=code))
    response.headers.update(error.headers or {})
    return response


async def _validation_error(_request: Request, error: Exception) -> JSONResponse:
    """The first field at fault, named as OpenAI names it: ``session.audio.output.speed``."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"]]
    param = ".".join(parts[1:]) or None
    where = f"'{param}'" if param else parts[0]
    code = {"missing": "missing_required_parameter", "json_invalid": "invalid_json"}.get(first["type"], "invalid_value")
    return _respond(ApiError(400, f"Invalid value for {where}: {first['msg']}.", code=code, param=param))


async def _unexpected(_request: Request, error: Exception) -> JSONResponse:
    """A bug: the caller learns that it is ours; the traceback is logged by the server."""
    return _respond(ApiError(500, "The server had an error while processing your request.", type="server_error"))


def install_error_handlers(app: FastAPI) -> None:
    """Make `app` answer every error in OpenAI's shape."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(AntiphonError, _antiphon_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(Exception, _unexpected)
