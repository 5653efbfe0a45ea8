"""One vocabulary for the session, two shapes on the wire.

The fields of `update_session` are the reference client's (the beta names). For a GA connection they are put where GA
has them; GA's own names are taken as well and win.

| field of update_session | beta | GA |
|---|---|---|
| modalities | modalities | output_modalities: ["audio"] when audio is in it, else ["text"] |
| instructions, tools, tool_choice | same | same |
| voice, speed | same | audio.output.voice, .speed |
| input_audio_format, output_audio_format | same | audio.input.format, audio.output.format |
| input_audio_transcription | same | audio.input.transcription |
| input_audio_noise_reduction | same | audio.input.noise_reduction |
| turn_detection | same ({"type": "none"} is null) | audio.input.turn_detection |
| max_response_output_tokens | same | max_output_tokens |
| temperature | same | left out: GA has none |
| anything else (include, tracing, prompt, truncation, ...) | same | same |
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

Dialect = Literal["ga", "beta"]

GA_FORMATS: dict[str, dict[str, Any]] = {
    "pcm16": {"type": "audio/pcm", "rate": 24000},
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}
BETA_FORMATS = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}

GA_PLACES: dict[str, tuple[str, ...]] = {
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_format": ("audio", "input", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "max_response_output_tokens": ("max_output_tokens",),
}

DEFAULT_VAD: dict[str, Any] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 200,
}
"""Settings for `update_session(turn_detection=...)`; not applied unless asked for."""


def default_session(dialect: Dialect) -> dict[str, Any]:
    """Give the configuration a client starts with: the reference client's.

    GA leaves voice and temperature to the server.
    """
    session: dict[str, Any] = {
        "modalities": ["text", "audio"],
        "instructions": "",
        "input_audio_format": "pcm16",
        "output_audio_format": "pcm16",
        "input_audio_transcription": None,
        "turn_detection": None,
        "tools": [],
        "tool_choice": "auto",
        "max_response_output_tokens": 4096,
    }
    if dialect == "beta":
        session |= {"voice": "verse", "temperature": 0.8}
    return session


def wire_session(fields: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Give the `session` object of a session.update for these fields (table: see the module).

    Args:
        fields: in the vocabulary of update_session; not changed.
        dialect: the shape to give.
    """
    given = copy.deepcopy(dict(fields))
    if turn_detection_type(given) is None and "turn_detection" in given:
        given["turn_detection"] = None
    if dialect == "beta":
        return given
    session: dict[str, Any] = {"type": "realtime"}
    own_audio = given.pop("audio", None)
    given.pop("temperature", None)
    modalities = given.pop("modalities", None)
    if modalities is not None:
        session["output_modalities"] = ["audio"] if "audio" in modalities else ["text"]
    for name, value in given.items():
        *path, last = GA_PLACES.get(name, (name,))
        target = session
        for step in path:
            target = target.setdefault(step, {})
        target[last] = GA_FORMATS.get(value, value) if name.endswith("_audio_format") else value
    for name in ("output_modalities", "max_output_tokens"):
        if name in given:
            session[name] = given[name]
    if isinstance(own_audio, Mapping):
        _merge(session.setdefault("audio", {}), own_audio)
    return session


def turn_detection_type(fields: Mapping[str, Any]) -> str | None:
    """Give `server_vad`, `semantic_vad` or None (push to talk) of a configuration in update_session's fields."""
    setting = fields.get("turn_detection")
    audio = fields.get("audio")
    if isinstance(audio, Mapping) and "turn_detection" in (audio.get("input") or {}):
        setting = audio["input"]["turn_detection"]
    kind = setting.get("type") if isinstance(setting, Mapping) else None
    return None if kind in (None, "none") else str(kind)


def audio_format(session: Mapping[str, Any], direction: Literal["input", "output"]) -> str:
    """Give `pcm16`, `g711_ulaw` or `g711_alaw`: the format in a session object of either shape, or in fields."""
    audio = session.get("audio")
    ga = audio.get(direction) if isinstance(audio, Mapping) else None
    value = ga.get("format") if isinstance(ga, Mapping) else None
    if isinstance(value, Mapping):
        return BETA_FORMATS.get(str(value.get("type")), "pcm16")
    named = session.get(f"{direction}_audio_format")
    return named if isinstance(named, str) and named in GA_FORMATS else "pcm16"


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if key in ("input", "output") and isinstance(value, Mapping):
            target.setdefault(key, {}).update(value)
        else:
            target[key] = value
