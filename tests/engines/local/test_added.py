from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from antiphon.engines.local import added, models
from antiphon.engines.local.catalogue import JOE, SMOLLM2
from antiphon.errors import InputFileError, ModelFileError

GGUF = b"GGUF\x03\x00\x00\x00 and so on"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    directory = tmp_path / "models"
    directory.mkdir()
    return directory


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "Qwen 2.5 (Q4).gguf"
    path.write_bytes(GGUF)
    return path


def test_a_language_model_is_copied_and_found(home: Path, gguf: Path) -> None:
    new = added.add_llm(home, gguf)
    assert new.name == "qwen-2-5-q4"
    gguf.unlink()
    assert added.find_llm(home, "qwen-2-5-q4").read_bytes() == GGUF
    assert added.added(home) == [new]
    assert added.intact(home, new, full=True)


def test_adding_again_replaces_and_others_stay(home: Path, gguf: Path) -> None:
    added.add_llm(home, gguf, name="one")
    added.add_llm(home, gguf, name="two", source='a "quoted" \\ source')
    gguf.write_bytes(GGUF + b"!")
    added.add_llm(home, gguf, name="one")
    one, two = sorted(added.added(home), key=lambda entry: entry.name)
    assert (one.size, two.size) == (len(GGUF) + 1, len(GGUF))
    assert two.source == 'a "quoted" \\ source'


def test_a_damaged_or_missing_addition_says_where_it_came_from(home: Path, gguf: Path) -> None:
    new = added.add_llm(home, gguf, name="one")
    path = home / new.file
    path.write_bytes(b"GGUF")
    with pytest.raises(ModelFileError, match=r"expected 18 bytes, found 4: add it again .*it came from .*Qwen"):
        added.find_llm(home, "one")
    assert not added.intact(home, new)
    path.unlink()
    with pytest.raises(ModelFileError, match=r"one.gguf is missing: add it again"):
        added.find_llm(home, "one")


def test_unknown_names_list_the_known_ones(home: Path, gguf: Path) -> None:
    added.add_llm(home, gguf, name="one")
    with pytest.raises(ModelFileError, match=r"no language model 'two' \(known: smollm2-135m, one\)"):
        added.find_llm(home, "two")
    with pytest.raises(ModelFileError, match=r"no voice 'amy' \(known: joe\)"):
        added.find_voice(home, "", "amy")


@pytest.mark.parametrize("name", ["joe", "smollm2-135m", "espeak", "Upper", "../up", "", "a b"])
def test_names_that_cannot_be_used(home: Path, gguf: Path, name: str) -> None:
    if name:
        with pytest.raises(InputFileError):
            added.add_llm(home, gguf, name=name)
    else:
        assert added.add_llm(home, gguf, name=name).name == "qwen-2-5-q4"


def test_other_files_are_refused(home: Path, tmp_path: Path) -> None:
    text = tmp_path / "notes.gguf"
    text.write_text("dear diary")
    with pytest.raises(InputFileError, match=r"is not a GGUF file: expected it to begin with b'GGUF', found b'dear'"):
        added.add_llm(home, text)
    with pytest.raises(InputFileError, match="cannot read"):
        added.add_llm(home, tmp_path / "none.gguf")
    with pytest.raises(InputFileError, match=r"there is no file .*none.onnx"):
        added.add_voice(home, tmp_path / "none.onnx")
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "config", ["not json", "{}", "[]", '{"audio":{"sample_rate":"fast"},"phoneme_id_map":{}}', '{"audio":3}']
)
def test_a_voice_needs_a_configuration_of_its_kind(home: Path, tmp_path: Path, config: str) -> None:
    voice = tmp_path / "amy.onnx"
    voice.write_bytes(b"graph")
    Path(f"{voice}.json").write_text(config)
    with pytest.raises(InputFileError, match=r"amy.onnx.json"):
        added.add_voice(home, voice)
    assert list(home.iterdir()) == []


def test_a_voice_that_is_no_graph_leaves_nothing(home: Path, tmp_path: Path) -> None:
    voice = tmp_path / "amy.onnx"
    voice.write_bytes(b"\xffgraph")
    Path(f"{voice}.json").write_text(json.dumps({"audio": {"sample_rate": 22_050}, "phoneme_id_map": {}}))
    with pytest.raises(ModelFileError, match="is not an ONNX graph"):
        added.add_voice(home, voice)
    assert list((home / "voices").iterdir()) == []
    assert added.added(home) == []


def test_a_damaged_manifest_says_so(home: Path) -> None:
    for text in ("[llm", "[llm.one]\nfile = 'x'\n", "llm = 3\n"):
        (home / "models.toml").write_text(text)
        with pytest.raises(ModelFileError, match=r"models.toml is damaged"):
            added.added(home)


@pytest.mark.models
def test_a_voice_is_copied_cut_and_found(models_dir: Path, home: Path, tmp_path: Path) -> None:
    source = models_dir / JOE.target(".onnx").target
    shutil.copy(source, tmp_path / "amy.onnx")
    new = added.add_voice(home, tmp_path / "amy.onnx", config=Path(f"{source}.json"))
    assert added.voices(home) == ["joe", "amy"]
    found = added.find_voice(home, "amy", "joe")
    assert (found.name, found.path) == ("amy", home / new.file)
    assert found.parts == models.parts(home, found.path) is not None


@pytest.mark.models
def test_the_catalogues_own_are_found(models_dir: Path) -> None:
    assert added.find_llm(models_dir, SMOLLM2.name).suffix == ".gguf"
    assert added.find_voice(models_dir, "alloy", "joe").name == "joe"
    assert added.find_voice(models_dir, "", "espeak").name == "joe"
