from __future__ import annotations

import asyncio
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import antiphon.engines.local as local
from antiphon.core.items import Message, Text
from antiphon.engines.openai import OpenAiLlm, OpenAiStt, OpenAiTts
from antiphon.engines.ports import EngineError, LlmRequest, LlmText, SttRequest, TtsRequest
from antiphon.engines.registry import EngineSet, Spec, Table, build
from antiphon.engines.scripted import ScriptedLlm, ScriptedTurn, ScriptedVad, load_script
from antiphon.errors import ConfigError
from antiphon.runtime.clock import run_virtual
from antiphon.server.settings import EnginesSettings

DOCS = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()
NOWHERE = Path("nowhere")
SCRIPTED = Spec("scripted", "scripted")


def example(name: str) -> str:
    found = re.search(rf"<!-- example: {re.escape(name)} -->\n```\w+\n(.*?)```", DOCS, re.DOTALL)
    assert found is not None
    return found[1]


def table(llm: Spec = SCRIPTED, **others: Spec) -> Table:
    return Table([others.get("stt", SCRIPTED)], [llm], [others.get("tts", SCRIPTED)])


async def said(engines: EngineSet, text: str) -> str:
    request = LlmRequest((Message("u", "user", (Text(text),)),))
    return "".join([c.delta async for c in engines.llm.generate(request) if isinstance(c, LlmText)])


class Embedded:
    """Stands where the engine process's engines would: what matters here is who is made, warmed and closed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = 0
        self.warmed = 0
        self.broken = False
        self.voices = ("joe",)

    async def warm_up(self) -> None:
        self.warmed += 1
        if self.broken:
            raise EngineError(self.name, "unavailable", "no model")

    async def close(self) -> None:
        self.closed += 1
        if self.broken:
            raise OSError("stuck")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was made of embedded engines: (models_dir, options, (turn, stt, llm, tts)) each time."""
    made: list[Any] = []

    def local_engines(models_dir: Path, options: Mapping[str, Any] | None = None) -> Any:
        parts = [Embedded(n) for n in ("smart-turn", "local", "local", "local")]
        made.append((models_dir, dict(options or {}), parts))
        return local.LocalEngines(ScriptedVad(), *parts)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "local_engines", local_engines)
    return made


# --- scripted --------------------------------------------------------------------------------------------------------


def test_scripted_engines_need_nothing_and_hear_by_script(made: list[Any]) -> None:
    async def main() -> tuple[str, str, int]:
        engines = build(table(), NOWHERE)
        assert not engines.ready
        await engines.warm_up()
        assert engines.ready
        assert isinstance(engines.vad, ScriptedVad)
        assert isinstance(engines.turn, ScriptedTurn)
        text = await engines.stt.transcribe(SttRequest(np.zeros(16_000, np.int16)))
        answer = await said(engines, text)
        samples = sum([c.audio.size async for c in engines.tts.synthesize(TtsRequest(answer))])
        await engines.close()
        return text, answer, samples

    text, answer, samples = run_virtual(main())
    assert text == "Hello, how are you today?"
    assert answer.startswith("Hello!")
    assert samples == len(answer) * 1600
    assert not made


def test_a_script_by_file_or_in_the_table(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text('[llm]\ndefault = "from the file"\n')
    by_file = build(table(Spec("scripted", "scripted", {"file": str(path)})), NOWHERE)
    inline = build(table(Spec("other", "scripted", {"llm": {"default": "from the table"}, "retries": 0})), NOWHERE)
    assert run_virtual(said(by_file, "x")) == "from the file"
    assert run_virtual(said(inline, "x")) == "from the table"
    with pytest.raises(ConfigError, match="`file` names the whole script"):
        build(table(Spec("scripted", "scripted", {"file": str(path), "llm": {}})), NOWHERE)
    with pytest.raises(ConfigError, match=r"engine 'other': .*`lm`.*did you mean `llm`"):
        build(table(Spec("other", "scripted", {"lm": {}})), NOWHERE)


# --- local -----------------------------------------------------------------------------------------------------------


def test_the_embedded_engines_are_made_once_and_all_closed(made: list[Any]) -> None:
    engines = build(table(Spec("local", "local", {"llm_threads": 2, "answer_timeout": 3})), Path("models"))
    assert len(made) == 1
    models_dir, options, (turn, stt, llm, tts) = made[0]
    assert (models_dir, options) == (Path("models"), {"llm_threads": 2})
    assert engines.llm.engines == (llm,)
    assert engines.turn == turn
    run_virtual(engines.warm_up())
    assert engines.readiness() == {
        "turn": {"smart-turn": "warm"},
        "stt": {"scripted": "warm"},
        "llm": {"local": "warm"},
        "tts": {"scripted": "warm"},
    }
    run_virtual(engines.close())
    assert [e.closed for e in (turn, stt, llm, tts)] == [1, 1, 1, 1]


def test_endpoints_are_listened_to_by_the_embedded_ears(made: list[Any]) -> None:
    remote = Spec("remote", "openai", {"api_key": "k"})
    engines = build(Table([remote], [remote], [remote]), NOWHERE)
    assert [type(c.engines[0]) for c in (engines.stt, engines.llm, engines.tts)] == [OpenAiStt, OpenAiLlm, OpenAiTts]
    assert engines.turn is made[0][2][0]
    made.clear()
    assert isinstance(build(Table([remote], [remote], [remote]), NOWHERE, ears="scripted").turn, ScriptedTurn)
    assert not made


def test_what_is_not_ready_is_told_and_what_cannot_close_closes_nothing_else_down(made: list[Any]) -> None:
    engines = build(table(Spec("local", "local")), NOWHERE)
    turn, stt, llm, tts = made[0][2]
    turn.broken = llm.broken = True
    with pytest.raises(ExceptionGroup, match="engines are not ready") as caught:
        run_virtual(engines.warm_up())
    assert len(caught.value.exceptions) == 2
    assert engines.readiness()["turn"] == {"smart-turn": "failed: smart-turn: no model"}
    assert engines.readiness()["tts"] == {"scripted": "warm"}
    assert not engines.ready
    with pytest.raises(ExceptionGroup, match="engines did not close"):
        run_virtual(engines.close())
    assert [e.closed for e in (turn, stt, llm, tts)] == [1, 1, 1, 1]


def test_warming_up_goes_on_until_everything_is_ready(made: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    engines = build(table(Spec("local", "local")), NOWHERE)
    turn, _, llm, _ = made[0][2]
    llm.broken = True

    async def main() -> float:
        asyncio.get_running_loop().call_later(25, setattr, llm, "broken", False)
        await engines.keep_warming(every=10.0)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 30.0
    assert engines.ready
    assert (turn.warmed, llm.warmed) == (1, 4)
    assert caplog.messages == ["an engine is not ready: local: no model"] * 3


# --- tables ----------------------------------------------------------------------------------------------------------


def test_fallbacks_with_patience_of_their_own() -> None:
    hanging = Spec("first", "scripted", {"llm": {"rule": [{"fail": "hang"}]}, "answer_timeout": "1.5"})
    engines = build(Table([SCRIPTED], [hanging, SCRIPTED], [SCRIPTED]), NOWHERE)

    async def main() -> tuple[str, float]:
        stream = engines.llm.generate(LlmRequest((Message("u", "user", (Text("hello"),)),)))
        first = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert isinstance(first, LlmText)
        return first.delta, asyncio.get_running_loop().time()

    word, at = run_virtual(main())
    assert word == "Hello! "
    assert at == pytest.approx(1.58)


def test_a_table_for_one_role_inside_the_endpoints() -> None:
    options = {"base_url": "http://127.0.0.1:1/v1", "model": "a", "tts": {"voice": "anna", "model": "b"}}
    remote = Spec("remote", "openai", options)
    engines = build(Table([remote], [remote], [remote]), NOWHERE, ears="scripted")
    assert engines.tts.voices == ("anna",)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            Spec("opnai", "opnai"),
            r"engines\.llm: there is no engine 'opnai' \(did you mean `openai`\?\); known are local",
        ),
        (Spec("zzz", "zzz"), r"there is no engine 'zzz'; known are local, openai, scripted"),
        (Spec("o", "openai", {"modle": "x"}), r"engine 'o': .*`modle` \(did you mean `model`\?\)"),
        (Spec("o", "openai", {"retries": 99}), r"engine 'o': .*<= 10.*retries"),
        (Spec("o", "openai", {"answer_timeout": "soon"}), r"engine 'o': .*answer_timeout"),
    ],
)
def test_wrong_tables(spec: Spec, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(table(spec), NOWHERE)


def test_lists_that_are_empty_or_name_an_engine_twice() -> None:
    with pytest.raises(ConfigError, match=r"engines\.llm: names no engine"):
        build(Table([SCRIPTED], [], [SCRIPTED]), NOWHERE)
    with pytest.raises(ConfigError, match=r"engines\.tts: 'scripted' is listed twice"):
        build(Table([SCRIPTED], [SCRIPTED], [SCRIPTED, SCRIPTED]), NOWHERE)


# --- the documentation -----------------------------------------------------------------------------------------------


@pytest.fixture
def parrot(tmp_path: Path) -> Iterator[Path]:
    """The documentation's package, installed for one test."""
    info = tmp_path / "antiphon_parrot-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: antiphon-parrot\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        example("entry_points.txt") + "broken = antiphon_parrot:missing\nmute = antiphon_parrot:ConfigError\n"
    )
    (tmp_path / "antiphon_parrot.py").write_text(example("antiphon_parrot.py"))
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path.remove(str(tmp_path))
    sys.modules.pop("antiphon_parrot", None)


def test_an_engine_of_another_package(parrot: Path) -> None:
    settings = EnginesSettings.model_validate(
        {"stt": "scripted", "llm": "parrot", "tts": "scripted", "plugins": {"parrot": {"times": 3, "retries": 1}}}
    )
    engines = build(settings, NOWHERE, ears="scripted")
    assert run_virtual(said(engines, "hello")) == "hello hello hello "
    with pytest.raises(ConfigError, match="can only be an LLM, not stt"):
        build(table(stt=Spec("parrot", "parrot")), NOWHERE)
    with pytest.raises(ConfigError, match=r"did you mean `parrot`"):
        build(table(Spec("parot", "parot")), NOWHERE)
    with pytest.raises(ConfigError, match=r"'broken' \(antiphon_parrot:missing\) cannot be loaded"):
        build(table(Spec("broken", "broken")), NOWHERE)
    with pytest.raises(ConfigError, match=r"'mute' made a ConfigError, which has no generate\(\)"):
        build(table(Spec("mute", "mute")), NOWHERE)


def test_the_documented_settings(made: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = EnginesSettings.model_validate(tomllib.loads(example("antiphon.toml"))["engines"])
    engines = build(settings, NOWHERE)
    assert [engine.name for engine in engines.llm.engines] == ["vllm", "openai", "local"]
    assert engines.tts.voices[0] == "marin"
    monkeypatch.chdir(tmp_path)
    Path("script.toml").write_text(example("script.toml"))
    scripted = EnginesSettings.model_validate(tomllib.loads(example("script-settings.toml"))["engines"])
    assert isinstance(build(scripted, NOWHERE).llm.engines[0], ScriptedLlm)


def test_the_documented_script(tmp_path: Path) -> None:
    path = tmp_path / "script.toml"
    path.write_text(example("script.toml"))
    script = load_script(path)
    assert len(script.llm.rules) == len(script.stt.utterances) == 3
    assert script.tts.rules[0].fail == "hang"
