"""The connection to an OpenAI-compatible endpoint, and its failures in the ports' words.

Keys never reach a message: what a server says is passed on only where it explains a refused request, shortened and
with everything that looks like a key removed. Retries are the chain's business, the SDK's own are off.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from antiphon.engines.openai.options import Options
from antiphon.engines.ports import EngineError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

_KEY = re.compile(r"\b(?:sk|gsk|key|tok)[-_][\w*.-]+|Bearer\s+\S+", re.IGNORECASE)
_LONGEST = 300


class Endpoint:
    """One client, made when it is first used, so that nothing is imported or opened before."""

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.options = options
        self._client: AsyncOpenAI | None = None

    @property
    def client(self) -> AsyncOpenAI:
        """The SDK's client."""
        if self._client is None:
            import openai

            options = self.options
            # The SDK would send OPENAI_API_KEY to any address; here only OpenAI itself gets it.
            key = options.api_key or (os.environ.get("OPENAI_API_KEY", "") if options.own else "") or "none"
            self._client = openai.AsyncOpenAI(
                api_key=key,
                base_url=options.base_url,
                timeout=openai.Timeout(options.timeout, connect=options.connect_timeout),
                max_retries=0,
                default_headers=dict(options.headers) or None,
            )
            if not options.own:
                # Taken from the environment as well, and nobody else's business.
                self._client.organization = self._client.project = None
        return self._client

    async def warm_up(self, resource: Callable[[AsyncOpenAI], object]) -> None:
        """Open a connection and see whether the key is taken, by asking for the list of models.

        Args:
            resource: the part of the SDK that will be used; touching it imports it, which takes a while.

        Raises:
            EngineError: the endpoint cannot be reached or refuses the key.
        """
        import openai

        with self.errors():
            resource(self.client)
            try:
                await self.client.models.list()
            except (openai.NotFoundError, openai.BadRequestError, openai.UnprocessableEntityError):
                return  # Not every server lists its models; it answered, which is what matters here.
            except openai.APIStatusError as error:
                if error.status_code not in (405, 501):
                    raise

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn whatever the SDK raises into an ``EngineError``, without a trace of keys."""
        try:
            yield
        except EngineError:
            raise
        except Exception as error:
            # The SDK's own errors can quote keys and hold the request: they must not ride along as the cause.
            raise self._engine_error(error) from None

    def bad_output(self, message: str) -> EngineError:
        """The endpoint answered, but not what was asked for."""
        return EngineError(self.name, "bad_output", message)

    def _engine_error(self, error: Exception) -> EngineError:
        import openai

        name, where = self.name, self.options.address
        library = type(error).__module__.partition(".")[0].startswith("httpx")
        if isinstance(error, openai.APIStatusError):
            body = error.body if isinstance(error.body, dict) else {}
            # The SDK's own message wraps the server's in the status and the whole body.
            return self._refused(error.status_code, error.code or "", str(body.get("message", error.message)))
        if isinstance(error, openai.APITimeoutError) or (library and "Timeout" in type(error).__name__):
            return EngineError(name, "timeout", f"{where} did not answer in time")
        if isinstance(error, openai.APIConnectionError) or library:
            return EngineError(name, "unavailable", f"cannot reach {where}, or it closed the connection")
        if isinstance(error, openai.APIError):
            return EngineError(name, "unavailable", f"{where} reported a failure: {self._clean(error.message)}")
        if isinstance(error, openai.OpenAIError):
            return EngineError(name, "rejected", self._clean(str(error)))
        return self.bad_output(f"{where} answered what cannot be read ({type(error).__name__})")

    def _refused(self, status: int, code: str, message: str) -> EngineError:
        name, where = self.name, self.options.address
        if status == 401:
            return EngineError(name, "rejected", f"{where} does not accept the API key (401): check `api_key`")
        if status == 403:
            return EngineError(name, "rejected", f"{where} forbids this to the API key (403)")
        if status == 429:
            if code == "insufficient_quota":
                return EngineError(name, "rejected", f"the quota at {where} is used up (429)")
            return EngineError(name, "rejected", f"{where} gets too many requests (429)")
        if status == 408:
            return EngineError(name, "timeout", f"{where} gave up on the request (408)")
        if status >= 500:
            return EngineError(name, "unavailable", f"{where} failed ({status})")
        return EngineError(name, "rejected", f"{where} refused the request ({status}): {self._clean(message)}")

    def _clean(self, message: str) -> str:
        for secret in (self.options.api_key, *self.options.headers.values()):
            if secret:
                message = message.replace(secret, "…")
        message = _KEY.sub("…", " ".join(message.split()))
        return message if len(message) <= _LONGEST else message[: _LONGEST - 1] + "…"
