"""From probabilities to voice: hysteresis, so that a trembling probability makes one edge, not ten."""

from __future__ import annotations

HYSTERESIS = 0.15


def voiced(was: bool, p: float, threshold: float) -> bool:
    """Whether a frame of probability ``p`` counts as voice, given that the frame before did (``was``)."""
    return p >= threshold - HYSTERESIS if was else p >= threshold
