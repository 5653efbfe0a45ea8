from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from antiphon.engines.local import added, hub
from antiphon.errors import AntiphonError, InputFileError, ModelFileError

GGUF = b"GGUF" + bytes(1000)


class Hub(ThreadingHTTPServer):
    """A hub on a port of its own: files by repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.promised: str | None = None
        self.tokens: list[str | None] = []

    def listing(self, id: str) -> bytes:
        files = self.repositories[id].items()
        siblings = [
            {"rfilename": name, "size": len(data), "lfs": {"sha256": self.promised or hashlib.sha256(data).hexdigest()}}
            for name, data in files
        ]
        return json.dumps({"siblings": siblings}).encode()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        self.server.tokens.append(self.headers["authorization"])
        path = self.path.split("?")[0].strip("/")
        id = "/".join(path.removeprefix("api/models/").split("/")[:2])
        if id not in self.server.repositories:
            self.send_error(404)
            return
        name = path.partition("/resolve/main/")[2]
        body = self.server.repositories[id][name] if name else self.server.listing(id)
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with Hub() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{running.server_port}/")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield running
        running.shutdown()
        thread.join()


def quiet(task: str, done: int, total: int) -> None:
    assert done <= total


def test_ids() -> None:
    assert hub.is_hub_id("bartowski/Qwen2.5-0.5B-Instruct-GGUF")
    assert not any(hub.is_hub_id(text) for text in ("name", "a/b/c", "", "a b/c", "/x"))


def test_the_best_quantisation_for_a_cpu_is_taken(server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    server.repositories["owner/qwen"] = {"README.md": b"", "qwen-F16.gguf": b"GGUF", "qwen-Q4_K_M.gguf": GGUF}
    new = hub.add_from_hub(tmp_path, "owner/qwen", progress=quiet)
    assert (new.name, new.source) == ("qwen-q4-k-m", "owner/qwen/qwen-Q4_K_M.gguf")
    assert added.find_llm(tmp_path, new.name).read_bytes() == GGUF
    assert not list(tmp_path.glob(".fetch-*"))
    assert set(server.tokens) == {"Bearer secret"}


def test_a_file_may_be_chosen(server: Hub, tmp_path: Path) -> None:
    server.repositories["owner/qwen"] = {"a-Q8_0.gguf": GGUF, "b.gguf": GGUF + b"b"}
    new = hub.add_from_hub(tmp_path, "owner/qwen", file="b.gguf", name="mine", progress=quiet)
    assert (new.name, new.size) == ("mine", len(GGUF) + 1)


@pytest.mark.parametrize(
    ("files", "file", "message"),
    [
        ({"README.md": b""}, None, "holds neither a GGUF file nor a Piper voice"),
        ({"a.onnx": b""}, None, "holds neither a GGUF file nor a Piper voice"),
        ({"a.gguf": b"", "b.gguf": b""}, None, "holds 2 models: choose one with --file, such as a.gguf, b.gguf"),
        ({"a.gguf": b""}, "c.gguf", "owner/qwen has no file 'c.gguf'; it has: a.gguf"),
        ({"a.gguf": b"text"}, None, "is not a GGUF file"),
    ],
)
def test_what_cannot_be_added(
    server: Hub, tmp_path: Path, files: dict[str, bytes], file: str | None, message: str
) -> None:
    server.repositories["owner/qwen"] = files
    with pytest.raises(InputFileError, match=message):
        hub.add_from_hub(tmp_path, "owner/qwen", file=file, progress=quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_voice_brings_its_configuration(server: Hub, tmp_path: Path) -> None:
    config = json.dumps({"audio": {"sample_rate": 22_050}, "phoneme_id_map": {}}).encode()
    server.repositories["owner/voice"] = {"en/amy.onnx": b"\xff", "en/amy.onnx.json": config}
    with pytest.raises(ModelFileError, match="is not an ONNX graph"):
        hub.add_from_hub(tmp_path, "owner/voice", progress=quiet)


def test_a_damaged_download_is_refused(server: Hub, tmp_path: Path) -> None:
    server.repositories["owner/qwen"] = {"a.gguf": GGUF}
    server.promised = "0" * 64
    with pytest.raises(ModelFileError, match=f"is damaged: expected SHA-256 {'0' * 64}, got"):
        hub.add_from_hub(tmp_path, "owner/qwen", progress=quiet)


def test_unknown_repositories(server: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"the hub answered 404 .*: is 'owner/none' spelt rightly"):
        hub.add_from_hub(tmp_path, "owner/none", progress=quiet)


def test_no_hub_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as closed:
        port = closed.server_port
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    with pytest.raises(AntiphonError, match=rf"cannot reach the hub http://127.0.0.1:{port} .*add it by its path"):
        hub.add_from_hub(tmp_path, "owner/qwen", progress=quiet)
