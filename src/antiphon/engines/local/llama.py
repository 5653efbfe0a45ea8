"""A GGUF language model on xllamacpp: the demo LLM inside the engine process."""

from __future__ import annotations

import json
import secrets
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.engines.local.options import LocalOptions

__all__ = ["Answer", "Llama"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How an answer ended, and its tokens by the model's own count."""

    reason: str = "stop"
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Llama:
    """The loaded model; `chat` may run on as many threads as there are slots.

    The library always opens its HTTP server. It gets a key that nobody knows, and where the system has them, a socket
    file in a directory that nobody else may enter in place of a TCP port.

    Args:
        path: A GGUF file.
        private_dir: Such a directory, empty.
        options: Slots, context and threads.

    Raises:
        ImportError: xllamacpp is not installed.
        RuntimeError: The library cannot load the file.
    """

    def __init__(self, path: Path, private_dir: Path, options: LocalOptions) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = options.llm_context * options.llm_slots
        params.n_parallel = options.llm_slots
        params.cpuparams.n_threads = options.llm_threads
        params.cpuparams_batch.n_threads = options.llm_threads
        params.use_jinja = True
        params.verbosity = -1
        params.cache_ram_mib = 64
        params.n_threads_http = 1
        params.api_keys = [secrets.token_urlsafe(32)]
        if sys.platform != "win32":
            params.hostnames = [str(private_dir / "llm.sock")]
        self._server = xllamacpp.Server(params)

    def chat(
        self,
        messages: list[dict[str, str]],
        max_tokens: int,
        temperature: float,
        say: Callable[[str], None],
        cancelled: threading.Event,
    ) -> Answer:
        """Answer a chat, giving text to `say` as it comes; stops at the first token after `cancelled` is set.

        Raises:
            RuntimeError: The model refused or broke off; the message says why.
        """
        answer = _Reader(say, cancelled)
        request = {
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "stream": True,
            "stream_options": {"include_usage": True},
            "cache_prompt": True,
        }
        self._server.handle_chat_completions(request, answer.read)
        if answer.error is not None:
            raise RuntimeError(answer.error)
        return answer.result()


class _Reader:
    """Takes the stream's chunks: OpenAI's, alone or in lists."""

    def __init__(self, say: Callable[[str], None], cancelled: threading.Event) -> None:
        self._say = say
        self._cancelled = cancelled
        self._reason = "stop"
        self._usage: dict[str, Any] = {}
        self.error: str | None = None

    def read(self, chunk: Any) -> bool:
        """Take one callback's chunks; True stops the generation."""
        for part in chunk if isinstance(chunk, list) else [chunk]:
            self._take(json.loads(part) if isinstance(part, (str, bytes)) else part)
        return self._cancelled.is_set()

    def _take(self, part: dict[str, Any]) -> None:
        if "error" in part:
            self.error = str(part["error"].get("message", part["error"]))
            return
        self._usage = part.get("usage") or self._usage
        for choice in part.get("choices", ()):
            self._reason = choice.get("finish_reason") or self._reason
            if text := choice.get("delta", {}).get("content"):
                self._say(text)

    def result(self) -> Answer:
        details = self._usage.get("prompt_tokens_details") or {}
        return Answer(
            reason=self._reason,
            prompt_tokens=self._usage.get("prompt_tokens", 0),
            cached_tokens=details.get("cached_tokens", 0),
            completion_tokens=self._usage.get("completion_tokens", 0),
        )
