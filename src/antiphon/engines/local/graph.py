"""Cuts a Piper voice (a VITS graph) in two, so that it can speak before it has thought out the whole sentence.

The *front* turns phoneme ids into latent frames (and tells how many frames each id lasts); the *decoder* turns frames
into sound, 256 samples each, and needs only a few frames around the ones it decodes. ``onnx`` is needed here, once,
when a voice is fetched or added; synthesis runs on onnxruntime alone.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.errors import ModelFileError

__all__ = ["CONTEXT", "cut_voice", "part_paths"]

CONTEXT = "antiphon.context"
"""Metadata key of the decoder: frames needed on each side of a window for the sound to be that of the whole."""

_CONTEXTS = (12, 24, 48)
_TOLERANCE = 1e-5
_PROBE_FRAMES = 160


def part_paths(voice: Path) -> tuple[Path, Path]:
    """Where the front and the decoder of a voice are kept."""
    return voice.with_suffix(".front.onnx"), voice.with_suffix(".decoder.onnx")


def cut_voice(voice: Path) -> int | None:
    """Cut a voice and keep both parts beside it.

    Args:
        voice: A Piper ``.onnx`` file.

    Returns:
        Frames of context that a window needs on each side; None when the graph is not one that can be cut, or its
        parts do not sound like the whole: such a voice speaks sentence by sentence.

    Raises:
        ModelFileError: The file is not an ONNX graph.
    """
    import onnx
    from onnx.utils import Extractor

    try:
        model = onnx.load(str(voice))
    except Exception as error:  # protobuf's own DecodeError among them
        raise ModelFileError(f"{voice} is not an ONNX graph: {error}") from error
    seams = _seams(model.graph)
    if seams is None:
        return None
    frames, others, durations = seams
    extractor = Extractor(model)
    inputs = [i.name for i in model.graph.input]
    front = extractor.extract_model(inputs, [frames, *others, durations])
    decoder = extractor.extract_model([frames, *others], [model.graph.output[0].name])
    context = _context(front, decoder)
    if context is None:
        return None
    onnx.helper.set_model_props(decoder, {CONTEXT: str(context)})
    for part, path in zip((front, decoder), part_paths(voice), strict=True):
        fresh = path.with_name(f"{path.name}.{os.getpid()}")
        onnx.save(part, str(fresh))
        fresh.replace(path)
    return context


def _seams(graph: Any) -> tuple[str, list[str], str] | None:
    """The tensors to cut at: latent frames, what else the decoder takes (a speaker), frames per phoneme id."""
    ceils = [node.output[0] for node in graph.node if node.op_type == "Ceil"]
    heads = [node.input[0] for node in graph.node if node.name == "/dec/conv_pre/Conv"]
    if len(ceils) != 1 or len(heads) != 1:
        return None
    known = {tensor.name for tensor in graph.initializer}
    inner = [node for node in graph.node if node.name.startswith("/dec/")]
    made = {name for node in inner for name in node.output}
    # Constants that the exporter shared between the parts are copied into both, not cut.
    constants = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    outer = {name for node in inner for name in node.input if name} - made - known - constants
    return heads[0], sorted(outer - {heads[0]}), ceils[0]


def _context(front: Any, decoder: Any) -> int | None:
    """The smallest context with which a window in the middle sounds exactly like the whole."""
    from antiphon.engines.local.ort import session

    try:
        first = session(front.SerializeToString())
        second = session(decoder.SerializeToString())
    except ModelFileError:
        return None
    ids = np.full((1, _PROBE_FRAMES), 20, np.int64)
    ids[0, ::2] = 0
    feed = {"input": ids, "input_lengths": np.array([ids.shape[1]]), "scales": np.array([0.667, 1, 0.8], np.float32)}
    if len(first.get_inputs()) > 3:
        feed["sid"] = np.array([0])
    latent, *others = first.run(None, feed)[:-1]
    names = [tensor.name for tensor in second.get_inputs()]

    def decode(start: int, end: int) -> Any:
        return second.run(None, dict(zip(names, (latent[:, :, start:end], *others), strict=True)))[0].ravel()

    frames = latent.shape[2]
    whole = decode(0, frames)
    hop = len(whole) // frames
    start, end = frames // 2, frames // 2 + 8
    for context in _CONTEXTS:
        low, high = max(0, start - context), min(frames, end + context)
        window = decode(low, high)[(start - low) * hop : (end - low) * hop]
        if np.abs(window - whole[start * hop : end * hop]).max() < _TOLERANCE:
            return context
    return None
