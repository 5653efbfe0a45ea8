from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from antiphon.server.settings import (
    DataSettings,
    EngineSettings,
    EnginesSettings,
    OpenAIEndpoint,
    ServerSettings,
    Settings,
)


def test_defaults_serve_this_machine_with_the_embedded_engines() -> None:
    settings = Settings()
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 7880)
    assert settings.limits.session_seconds == 3600
    assert not settings.server.allow_anonymous
    assert not settings.server.tls
    for role in ("stt", "llm", "tts"):
        assert settings.engines.for_role(role) == (EngineSettings("local", "local", {}),)


def test_the_database_defaults_to_a_file_in_the_data_directory(tmp_path: Path) -> None:
    data = DataSettings(data_dir=tmp_path)
    assert data.resolved_database_url == f"sqlite+aiosqlite:///{tmp_path / 'antiphon.db'}"
    other = DataSettings(data_dir=tmp_path, database_url="postgresql+asyncpg://host/db")
    assert other.resolved_database_url == "postgresql+asyncpg://host/db"


def test_a_home_directory_is_expanded() -> None:
    assert DataSettings(data_dir=Path("~/antiphon")).data_dir == Path.home() / "antiphon"


def test_each_kind_of_engine_gets_its_table() -> None:
    engines = EnginesSettings(
        llm=("groq", "local", "scripted", "acme"),
        local={"threads": 2},
        openai={"groq": OpenAIEndpoint(base_url="http://x/v1", api_key=SecretStr("k"), timeout_seconds=3)},
        scripted={"file": "call.toml"},
        plugins={"acme": {"speed": 9}},
    )
    groq, local, scripted, acme = engines.for_role("llm")
    assert groq.kind == "openai"
    assert groq.options == {"base_url": "http://x/v1", "api_key": SecretStr("k"), "timeout_seconds": 3}
    assert local == EngineSettings("local", "local", {"threads": 2})
    assert scripted == EngineSettings("scripted", "scripted", {"file": "call.toml"})
    assert acme == EngineSettings("acme", "acme", {"speed": 9})


def test_a_key_shows_nowhere_in_the_settings() -> None:
    engines = EnginesSettings(openai={"x": OpenAIEndpoint(api_key=SecretStr("sk-very-secret"))})
    assert "very-secret" not in repr(Settings(engines=engines))
    assert "very-secret" not in Settings(engines=engines).model_dump_json()


@pytest.mark.parametrize("name", ["local", "scripted"])
def test_tables_may_not_take_the_names_of_built_in_engines(name: str) -> None:
    with pytest.raises(ValidationError, match="is the name of a built-in engine"):
        EnginesSettings(openai={name: OpenAIEndpoint()})


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="must be set together"):
        ServerSettings(tls_cert=tmp_path / "cert.pem")
