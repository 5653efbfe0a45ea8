"""Reads the settings from file, environment and flags, and explains what is wrong with them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsError,
    TomlConfigSettingsSource,
)

from antiphon.errors import ConfigError
from antiphon.server.settings import Settings

__all__ = ["ENTRY_POINT_GROUP", "fields_of", "load_settings", "markdown_table"]

ENTRY_POINT_GROUP = "antiphon.engines"
"""Entry points by which other packages add engines."""

_PREFIX = "ANTIPHON_"
_NOT_SETTINGS = frozenset({"ANTIPHON_CONFIG", "ANTIPHON_TRACEBACK"})


def _reader(path: Path | None) -> Callable[..., Settings]:
    """The settings' constructor with one TOML file among its sources."""

    class _FileSettings(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, path)

    return _FileSettings


def load_settings(config: Path | None = None, flags: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Read the settings.

    Args:
        config: The TOML file; else ``ANTIPHON_CONFIG``; else ``antiphon.toml`` in the working directory
            where there is one.
        flags: Values by section and name that win over everything else; those that are None are not set.

    Returns:
        The settings, complete and checked.

    Raises:
        ConfigError: A file is missing or not TOML, a name is unknown, or a value is out of range.
    """
    path = _config_path(config)
    _refuse_unknown_variables(os.environ)
    given = {
        section: kept
        for section, values in (flags or {}).items()
        if (kept := {name: value for name, value in values.items() if value is not None})
    }
    try:
        settings = _reader(path)(**given)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(detail) for detail in error.errors())) from None
    except SettingsError as error:
        raise ConfigError(f"{error}: expected JSON, or the names of a list set apart by commas") from error
    except ValueError as error:  # tomllib.TOMLDecodeError, before any value is seen
        raise ConfigError(f"{path} is not a TOML file: {error}") from error
    _refuse_unknown_engines(settings)
    return settings


def _config_path(config: Path | None) -> Path | None:
    chosen = config or (Path(value) if (value := os.environ.get("ANTIPHON_CONFIG")) else None)
    if chosen is None:
        default = Path("antiphon.toml")
        return default if default.is_file() else None
    if not chosen.is_file():
        raise ConfigError(f"there is no settings file {chosen}: name one with --config or ANTIPHON_CONFIG")
    return chosen


def fields_of(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """List every setting as (dotted name, default as text, description)."""
    for name, field in model.model_fields.items():
        dotted = f"{prefix}{name}"
        if _is_model(field.annotation):
            yield from fields_of(field.annotation, f"{dotted}.")
            continue
        default = "" if field.default_factory is not None else _shown(field.default)
        yield dotted, default, field.description or ""
        for table in filter(_is_model, get_args(field.annotation)):
            yield from fields_of(table, f"{dotted}.NAME.")


def _is_model(annotation: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _shown(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, frozenset):
        default = tuple(sorted(default))
    return ", ".join(default) if isinstance(default, tuple) else str(default)


def markdown_table() -> str:
    """The settings as a Markdown table, for the documentation."""
    lines = ["| setting | variable | default | meaning |", "|---|---|---|---|"]
    for name, default, description in fields_of():
        variable = f"{_PREFIX}{name.upper().replace('.', '__')}"
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{name}` | `{variable}` | {shown} | {description} |")
    return "\n".join(lines)


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    """A variable with our prefix that names no section is a typing error, not a stranger's."""
    for variable in environ:
        upper = variable.upper()
        if not upper.startswith(_PREFIX) or upper in _NOT_SETTINGS:
            continue
        section, _, nested = upper.removeprefix(_PREFIX).lower().partition("__")
        if section not in Settings.model_fields or not nested:
            known = [f"{_PREFIX}{name.upper().replace('.', '__')}" for name, _, _ in fields_of()]
            raise ConfigError(f"unknown variable {variable}: {_nearest(upper, [*_NOT_SETTINGS, *known])}")


def _explain(detail: ErrorDetails) -> str:
    """One line for one thing that is wrong, with the setting's dotted name."""
    location = [str(part) for part in detail["loc"]]
    name = ".".join(location)
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {name!r}: {_nearest(name, _siblings(location))}"
    if not name:
        return detail["msg"].removeprefix("Value error, ")
    message = detail["msg"].removeprefix("Value error, ")
    secret = location[-1] == "api_key" or isinstance(detail["input"], dict | BaseModel)
    shown = "" if secret else f", got {detail['input']!r}"
    return f"setting {name!r}: {message}{shown}"


def _siblings(location: list[str]) -> list[str]:
    """Dotted names known in the section of an unknown one, or everywhere when its section is unknown."""
    known = [name for name, _, _ in fields_of()]
    section = location[0]
    if section not in Settings.model_fields:
        return [*Settings.model_fields, *known]
    return [name for name in known if name.startswith(f"{section}.")]


def _refuse_unknown_engines(settings: Settings) -> None:
    """A listed engine is built in, has a table, or is an installed entry point."""
    engines = settings.engines
    known = engines.known_names()
    for role in ("stt", "llm", "tts"):
        for name in getattr(engines, role):
            if name in known:
                continue
            from importlib.metadata import entry_points

            installed = [point.name for point in entry_points(group=ENTRY_POINT_GROUP)]
            if name not in installed:
                raise ConfigError(
                    f"setting 'engines.{role}' names the unknown engine {name!r}: "
                    f"{_nearest(name, [*known, *installed])}"
                )
