"""Coverage-guided fuzzing of the parser of client events, by atheris, in a process of its own (it ends its process)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = (
    b'{"type":"session.update","session":{"type":"realtime","audio":{"output":{"speed":1.0}}}}',
    b'{"type":"input_audio_buffer.append","audio":"AAAA"}',
    b'{"type":"conversation.item.create","item":{"type":"message","role":"user","content":[]}}',
    b'{"type":"conversation.item.truncate","item_id":"i","content_index":0,"audio_end_ms":0}',
    b'{"type":"response.create","response":{"metadata":{"a":"b"},"input":[]},"event_id":"e"}',
)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
def test_the_parser_refuses_by_wire_errors_only(tmp_path: Path) -> None:
    runs = os.environ.get("ANTIPHON_FUZZ_RUNS", "2000000")
    for n, seed in enumerate(SEEDS):
        (tmp_path / f"seed{n}").write_bytes(seed)
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("parser.py")), str(tmp_path), f"-runs={runs}", "-max_len=4096"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {runs} runs" in done.stderr
