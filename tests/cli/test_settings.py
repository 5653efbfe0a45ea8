from __future__ import annotations

from collections.abc import Callable

from antiphon.server.settings_sources import markdown_table


def test_the_settings_are_printed_as_the_documentation_shows_them(
    cli: Callable[..., tuple[int, str, str]],
) -> None:
    code, out, _ = cli("settings")
    assert code == 0
    assert out == markdown_table() + "\n"
