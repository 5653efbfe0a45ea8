"""How every embedded ONNX model is opened."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from pathlib import Path

import onnxruntime

from antiphon.errors import ModelFileError

__all__ = ["release_memory", "session"]


def session(model: Path | bytes, *, arena: bool = True) -> onnxruntime.InferenceSession:
    """Open a model to run on the calling thread.

    The library's defaults start a spinning thread a core for every model, which ruins a shared machine. ``run``
    releases the interpreter's lock and may be called from several threads on one session.

    Args:
        model: The file, or its contents.
        arena: Whether the memory of a run is kept for the next: wanted where runs are frequent and small.

    Raises:
        ModelFileError: The file is not a model that onnxruntime can load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = arena
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding raises a dozen unrelated classes straight below Exception
        name = "the graph" if isinstance(model, bytes) else str(model)
        raise ModelFileError(f"onnxruntime cannot load {name}: {error}") from error


def release_memory() -> None:
    """Give what a large run has freed back to the system, where the C library would keep it (glibc)."""
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL("libc.so.6").malloc_trim(0)
