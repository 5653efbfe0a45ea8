"""Takes a model from a Hugging Face hub, by id: a GGUF language model or a Piper voice."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import httpx

from antiphon.engines.local.added import Added, add_llm, add_voice
from antiphon.engines.local.models import Progress, free_space, workshop
from antiphon.errors import InputFileError, ModelFileError

__all__ = ["HUB", "add_from_hub", "is_hub_id"]

HUB = "https://huggingface.co"
"""The hub, unless ``HF_ENDPOINT`` names a mirror."""

_ID = re.compile(r"[\w.-]+/[\w.-]+")
_BEST = ("q4_k_m", "q4_0", "q4_1", "q5_k_m", "q8_0")
"""Quantisations in the order of preference for a CPU."""


def is_hub_id(text: str) -> bool:
    """Whether it looks like ``owner/name``."""
    return _ID.fullmatch(text) is not None


def add_from_hub(
    models_dir: Path,
    id: str,
    *,
    file: str | None = None,
    name: str | None = None,
    progress: Progress,
) -> Added:
    """Download a model and add it.

    Args:
        models_dir: Where to.
        id: ``owner/name``.
        file: Which of its files, an ``.onnx`` or ``.gguf``; the best known one of a single kind when omitted.
        name: What to call it.
        progress: Told about the download.

    Raises:
        ModelFileError: The hub cannot be reached, does not have it, or sent another file than it promised.
        InputFileError: The repository holds nothing usable, or several voices.
    """
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    token = os.environ.get("HF_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with (
            httpx.Client(timeout=30, follow_redirects=True, headers=headers) as client,
            workshop(models_dir) as temporary,
        ):
            answer = client.get(f"{hub}/api/models/{id}", params={"blobs": "true"}).raise_for_status()
            listed = {entry["rfilename"]: entry for entry in answer.json().get("siblings", [])}
            chosen = _choose(id, listed, file)
            path = temporary / Path(chosen).name
            url = f"{hub}/{id}/resolve/main/"
            _download(client, url + chosen, path, listed.get(chosen, {}), progress)
            if chosen.endswith(".gguf"):
                return add_llm(models_dir, path, name=name, source=f"{id}/{chosen}")
            _download(client, f"{url}{chosen}.json", Path(f"{path}.json"), {}, progress)
            return add_voice(models_dir, path, name=name, source=f"{id}/{chosen}")
    except httpx.HTTPStatusError as error:
        raise ModelFileError(
            f"the hub answered {error.response.status_code} for {error.request.url}: is {id!r} spelt rightly, and "
            "open to you? (HF_TOKEN is sent where it is set)"
        ) from error
    except httpx.HTTPError as error:
        raise ModelFileError(
            f"cannot reach the hub {hub} for {id!r}: {error or type(error).__name__}. Set HF_ENDPOINT to a mirror, or "
            "download the file elsewhere and add it by its path"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(f"{hub} did not answer like a model hub: {error}") from error


def _choose(id: str, listed: dict[str, Any], file: str | None) -> str:
    usable = sorted(name for name in listed if name.endswith((".gguf", ".onnx")))
    if file is not None:
        if file not in usable:
            raise InputFileError(f"{id} has no file {file!r}; it has: {', '.join(usable) or 'no .gguf or .onnx file'}")
        return file
    models = [name for name in usable if name.endswith(".gguf")]
    for wanted in _BEST:
        for name in models:
            if wanted in name.lower():
                return name
    voices = [name for name in usable if name.endswith(".onnx") and f"{name}.json" in listed]
    if len(models) == 1 or (len(voices) == 1 and not models):
        return (models or voices)[0]
    if not models and not voices:
        raise InputFileError(f"{id} holds neither a GGUF file nor a Piper voice (.onnx with .onnx.json)")
    some = ", ".join((models or voices)[:12])
    raise InputFileError(f"{id} holds {len(models or voices)} models: choose one with --file, such as {some}")


def _download(client: httpx.Client, url: str, path: Path, entry: dict[str, Any], progress: Progress) -> None:
    size = int(entry.get("size") or 0)
    if size:
        free_space(path.parent, 2 * size)
    digest = hashlib.sha256()
    done = 0
    with client.stream("GET", url) as answer, path.open("wb") as file:
        answer.raise_for_status()
        total = size or int(answer.headers.get("content-length", 0))
        for data in answer.iter_bytes(1 << 18):
            file.write(data)
            digest.update(data)
            done += len(data)
            progress(path.name, done, max(total, done))
    expected = (entry.get("lfs") or {}).get("sha256")
    if expected is not None and digest.hexdigest() != expected:
        raise ModelFileError(f"{url} is damaged: expected SHA-256 {expected}, got {digest.hexdigest()}")
