from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.engines.local import local_engines
from antiphon.errors import ConfigError, ModelFileError


def test_without_models_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"silero_vad_16k_op15.onnx is missing: run 'antiphon models fetch'"):
        local_engines(tmp_path)


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'voice'"):
        local_engines(tmp_path, {"voices": "joe"})


@pytest.mark.models
def test_making_them_starts_nothing(models_dir: Path) -> None:
    engines = local_engines(models_dir)
    ready = [engine.readiness() for engine in (engines.turn, engines.stt, engines.llm, engines.tts)]
    assert ready == [False] * 4
    assert engines.stt._process.pid is None


def test_the_server_never_imports_gpl_code() -> None:
    code = """
import sys
import antiphon.engines.local.worker
from antiphon.engines.local import llm, process, stt, tts, turn, vad
print([name for name in sys.modules if name.split(".")[0] in ("piper", "xllamacpp")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
