from __future__ import annotations

import os
import shutil
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from antiphon.engines.local import models
from antiphon.engines.local.catalogue import JOE
from antiphon.engines.local.graph import CONTEXT, cut_voice, part_paths
from antiphon.engines.local.ort import session
from antiphon.errors import ModelFileError


@pytest.mark.models
def test_the_fetched_voice_is_cut_with_a_small_context(models_dir: Path) -> None:
    parts = models.parts(models_dir, models_dir / JOE.target(".onnx").target)
    assert parts is not None
    context = session(parts[1]).get_modelmeta().custom_metadata_map[CONTEXT]
    assert 0 < int(context) <= 24


@pytest.mark.models
def test_a_voice_is_cut_again_when_it_or_a_part_changes(models_dir: Path, tmp_path: Path) -> None:
    voice = tmp_path / "voice.onnx"
    shutil.copy(models_dir / JOE.target(".onnx").target, voice)
    assert models.parts(tmp_path, voice) is None
    models.cut(tmp_path, voice)
    parts = models.parts(tmp_path, voice)
    assert parts == part_paths(voice)
    parts[1].write_bytes(b"damaged")
    assert models.parts(tmp_path, voice) is None
    models.cut(tmp_path, voice)
    assert models.parts(tmp_path, voice) == parts
    os.utime(voice)
    assert models.parts(tmp_path, voice) is None


def test_a_graph_of_another_kind_is_not_cut(tmp_path: Path) -> None:
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", info[:1], info[1:])
    path = tmp_path / "identity.onnx"
    onnx.save(helper.make_model(graph), str(path))
    assert cut_voice(path) is None
    assert [p.name for p in tmp_path.iterdir()] == ["identity.onnx"]


def test_what_is_no_graph_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "voice.onnx"
    path.write_bytes(b"\xffnot a graph")
    with pytest.raises(ModelFileError, match=r"voice.onnx is not an ONNX graph"):
        cut_voice(path)
    with pytest.raises(ModelFileError, match=r"onnxruntime cannot load .*voice.onnx"):
        session(path)
