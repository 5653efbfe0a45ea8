"""The root of Antiphon's error tree, split by who can act on a failure.

Every error that Antiphon raises on purpose derives from :class:`AntiphonError`, so that a caller can
catch "what the library meant to tell me" apart from bugs. The families::

    AntiphonError
    ├── UsageError          the caller of a command or function mended by calling it otherwise   (exit 2)
    │   ├── ConfigError     a setting is unknown, missing or out of range
    │   └── InputFileError  a file given by the user cannot be read as what it should be
    ├── ModelFileError      a model file is missing, damaged or does not fit on the disk
    ├── PortInUseError      another process listens where the server should
    ├── StoreError          the database cannot be opened, migrated or used
    ├── ApiError            a request over HTTP is answered with an error
    └── engines.ports.EngineError   an STT, LLM or TTS engine failed

Packages add their own leaves below these. The standard library only: everyone may import this module.
"""

from __future__ import annotations

from typing import ClassVar


class AntiphonError(Exception):
    """An expected failure with a message made for the person who reads it.

    Attributes:
        exit_code: What the command line exits with when the error reaches it.
    """

    exit_code: ClassVar[int] = 1


class UsageError(AntiphonError):
    """The call was wrong: other arguments, settings or files mend it."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown, missing or out of range."""


class InputFileError(UsageError):
    """A file that the user named is missing, empty or not of a readable kind."""


class ModelFileError(AntiphonError):
    """A model file is missing, damaged, or has no room on the disk."""


class PortInUseError(AntiphonError):
    """The address to listen on is taken.

    Attributes:
        host: The host that was asked for.
        port: The TCP port that was asked for, 1 to 65535.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"port {port} on {host} is already in use by another process: stop that process, or choose "
            f"another port with --port, ANTIPHON_SERVER__PORT or 'port' under [server] in antiphon.toml"
        )


class StoreError(AntiphonError):
    """The database cannot be opened, migrated or used."""


class ApiError(AntiphonError):
    """A request over HTTP is answered with this error, in the shape of OpenAI's API.

    Attributes:
        status: HTTP status, 400 to 599.
        type: The family, such as ``invalid_request_error``.
        code: What programs tell errors apart by, such as ``invalid_api_key``; None where there is none.
        param: The request's field that is at fault, or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.code = code
        self.param = param

    def body(self) -> dict[str, dict[str, str | None]]:
        """What is sent: ``{"error": {"message", "type", "param", "code"}}``."""
        return {"error": {"message": str(self), "type": self.type, "param": self.param, "code": self.code}}
