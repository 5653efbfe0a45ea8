"""One server process for a test, its key, and the client scripts that talk to it."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["Server", "certificate", "run_client", "serve"]

SCRIPT = Path(__file__).with_name("script.toml")
SCRIPTED = ("--stt", "scripted", "--llm", "scripted", "--tts", "scripted", "--script", str(SCRIPT))
CLIENT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        address: Host and port.
        key: A key that it takes.
        tls: Whether it speaks TLS.
    """

    address: str
    key: str
    tls: bool

    @property
    def http(self) -> str:
        """The base URL of the API."""
        return f"http{'s' if self.tls else ''}://{self.address}/v1"

    @property
    def ws(self) -> str:
        """The same for sockets."""
        return f"ws{'s' if self.tls else ''}://{self.address}/v1"


@contextmanager
def serve(directory: Path, *flags: str, engines: Sequence[str] = SCRIPTED) -> Iterator[Server]:
    """Start ``antiphon serve`` on a free port with its data in `directory`, and kill it at the end."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTIPHON_")}
    with (directory / "server.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "antiphon.cli", "serve", "--port", "0", *engines, *flags],
            cwd=directory,
            env=own | {"ANTIPHON_DATA__DATA_DIR": str(directory / "data")},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert process.stdout is not None
    try:
        address = key = ""
        while not key:
            line = process.stdout.readline()
            assert line, (directory / "server.log").read_text()
            word = line.split()[0] if line.split() else ""
            if word.startswith("ws"):
                address = word.split("/")[2]
            elif word.startswith("ak_"):
                key = word
        yield Server(address, key, "--tls-cert" in flags)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert "Traceback" not in (directory / "server.log").read_text()


def run_client(command: Sequence[str | Path], server: Server, **environment: str) -> list[dict[str, Any]]:
    """Run a client script to its end.

    Returns:
        What it printed: one JSON object a line.

    Raises:
        AssertionError: It ended in an error; with what it wrote.
    """
    reached = {"ANTIPHON_HTTP": server.http, "ANTIPHON_WS": server.ws, "OPENAI_API_KEY": server.key}
    done = subprocess.run(
        command,
        env=os.environ | reached | environment,
        capture_output=True,
        text=True,
        timeout=CLIENT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"the client failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = directory / "cert.pem", directory / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret
