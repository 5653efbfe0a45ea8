"""How every embedded ONNX model is opened."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from antiphon.errors import ModelFileError

__all__ = ["session"]


def session(model: Path | bytes) -> onnxruntime.InferenceSession:
    """Open a model to run on the calling thread.

    The library's defaults start a spinning thread a core for every model, which ruins a shared machine. ``run``
    releases the interpreter's lock and may be called from several threads on one session.

    Raises:
        ModelFileError: The file is not a model that onnxruntime can load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    source = model if isinstance(model, bytes) else str(model)
    try:
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding raises a dozen unrelated classes straight below Exception
        name = "the graph" if isinstance(model, bytes) else str(model)
        raise ModelFileError(f"onnxruntime cannot load {name}: {error}") from error
