from __future__ import annotations

from pathlib import Path

import antiphon
from antiphon.server.settings_sources import load_settings, markdown_table

PAGE = Path(antiphon.__file__).parents[2] / "docs" / "operations.md"


def test_the_page_shows_the_settings_as_they_are() -> None:
    assert markdown_table() in PAGE.read_text(), "put the output of 'antiphon settings' into docs/operations.md"


def test_the_page_s_settings_file_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "antiphon.toml"
    file.write_text(PAGE.read_text().partition("```toml\n")[2].partition("```")[0])
    settings = load_settings(file)
    assert settings.engines.llm == ("groq", "local")
    assert settings.engines.openai["groq"].model == "llama-3.3-70b-versatile"
