"""What to tell of mattes that can be used, but not for everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data_prep.dataset import Portrait

NAMED = 8  # portraits
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


def notes_on_mattes(
    portraits: Sequence[Portrait], alpha_counts: Sequence[np.ndarray]
) -> list[str]:
    """Lines on training mattes that are hard masks or stored with loss; mostly none.

    Parameters
    ----------
    portraits : sequence of Portrait
        Of the training list.
    alpha_counts : sequence of (256,) ndarray
        How many pixels of each matte have each value.
    """
    notes = []
    hard = [
        portrait.stem
        for portrait, counts in zip(portraits, alpha_counts, strict=True)
        if not counts[1:-1].any()
    ]
    if hard and len(hard) == len(portraits):
        notes.append(
            "All training mattes are hard masks, without a fractional pixel: p(alpha) from "
            "them is degenerate. Bring soft mattes, or train with p_alpha null (the paper's "
            "5 % of fractional pixels)."
        )
    elif hard:
        notes.append(f"Hard masks, without a fractional pixel, for training: {_names(hard)}.")
    lossy = [each.stem for each in portraits if each.matte.suffix.lower() in JPEG_SUFFIXES]
    if lossy:
        notes.append(
            "JPEG mattes for training, whose noise counts as fractional alpha (PNG keeps 0 "
            f"and 255): {_names(lossy)}."
        )
    return notes


def _names(stems: Sequence[str]) -> str:
    more = f" and {len(stems) - NAMED} more" if len(stems) > NAMED else ""
    return ", ".join(stems[:NAMED]) + more
