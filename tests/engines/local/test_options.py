from __future__ import annotations

from typing import Any

import pytest

from antiphon.engines.local.options import LocalOptions
from antiphon.errors import ConfigError


def test_a_table_may_set_some_and_numbers_may_be_text() -> None:
    options = LocalOptions.of({"voice": "amy", "threads": "3", "temperature": 1})
    assert (options.voice, options.threads, options.temperature) == ("amy", 3, 1.0)
    assert options.llm == LocalOptions().llm
    assert LocalOptions.of(options.as_dict()) == options


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"voise": "amy"}, r"engines.local.voise: there is no such option; did you mean 'voice'\?"),
        ({"zzz": 1}, "the options are threads, voice, llm"),
        ({"threads": "many"}, "engines.local.threads: expected int, got 'many'"),
        ({"threads": 0}, "engines.local.threads: expected 1 to 64, got 0"),
        ({"llm_context": 10}, "expected 256 to 1048576, got 10"),
        ({"temperature": 3}, "expected 0 to 2, got 3.0"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LocalOptions.of(table)
