from __future__ import annotations

import pytest
from pydantic import SecretStr

from antiphon.engines.openai import OpenAiLlm, read_options
from antiphon.errors import ConfigError


def test_openai_itself_needs_nothing() -> None:
    options = read_options("openai", {})
    assert options.own
    assert [options.model_for(r) for r in ("stt", "llm", "tts")] == [
        "gpt-4o-mini-transcribe",
        "gpt-4.1-mini",
        "gpt-4o-mini-tts",
    ]


def test_secrets_are_unwrapped_and_numbers_may_be_text() -> None:
    options = read_options("x", {"api_key": SecretStr("k"), "timeout": "30", "usage": "false"})
    assert (options.api_key, options.timeout, options.usage) == ("k", 30.0, False)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"base_ulr": "x"}, r"engine 'x': .*unknown field `base_ulr` \(did you mean `base_url`\?\)"),
        ({"timeout": 0}, r"engine 'x': .*> 0.*\$\.timeout"),
        ({"base_url": "localhost:8000"}, "base_url must be an http or https URL"),
        ({"base_url": "http://host:99999/v1"}, "base_url must be an http or https URL"),
        ({"base_url": "http://[::1/v1"}, "base_url must be an http or https URL"),
        ({"base_url": "http://u:p@localhost:8000/v1"}, "http://localhost:8000 is not OpenAI's own .* `model` must"),
    ],
)
def test_wrong_tables(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OpenAiLlm("x", table)
