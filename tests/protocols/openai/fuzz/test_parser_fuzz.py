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

TOKENS = (
    *("type", "event_id", "session", "item", "audio", "input", "output", "format", "turn_detection", "content", "role"),
    *("realtime", "transcription", "server_vad", "semantic_vad", "function", "mcp", "message", "function_call", "user"),
    *("session.update", "conversation.item.create", "response.create", "input_audio_buffer.append", "item_reference"),
    *(
        "tools",
        "tool_choice",
        "truncation",
        "prompt",
        "instructions",
        "metadata",
        "speed",
        "rate",
        "voice",
        "id",
        "null",
    ),
)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this platform")
def test_the_parser_refuses_by_wire_errors_only(tmp_path: Path) -> None:
    runs = os.environ.get("ANTIPHON_FUZZ_RUNS", "2000000")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for n, seed in enumerate(SEEDS):
        (corpus / f"seed{n}").write_bytes(seed)
    words = tmp_path / "words"  # msgspec is compiled and tells no coverage, so the fuzzer is told its words
    words.write_text("".join(f'"\\"{token}\\""\n' for token in TOKENS))
    target = Path(__file__).with_name("parser.py")
    done = subprocess.run(
        [sys.executable, str(target), str(corpus), f"-runs={runs}", "-max_len=4096", f"-dict={words}"],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert f"Done {runs} runs" in done.stderr
