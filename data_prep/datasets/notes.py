"""Notes on a dataset that can be used all the same: a line each, usually none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.datasets.manifest import Problem

NAMED = 8  # files that a line names
JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif")


def _list(names: Sequence[str], separator: str = ", ") -> str:
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return separator.join([*names[:NAMED], *more])


def notes_on_passed_over(files: Sequence[Problem]) -> list[str]:
    """A line that names files that nothing reads, and why."""
    if not files:
        return []
    named = [f"{each.file.parent.name}/{each.file.name} ({each.reason})" for each in files]
    return [f"Passed over: {_list(named, '; ')}."]


def notes_on_equal_photos(
    groups: Sequence[Sequence[Path]], side_of: Mapping[Path, str]
) -> list[str]:
    """A line on equal photos of the same side.

    Parameters
    ----------
    groups : sequence of sequence of Path
        Photos that are equal, by group.
    side_of : mapping of Path to str
        "train", "test" or "validation".
    """
    pairs = [
        f"{photo.name} = {first.name}"
        for first, *others in groups
        for photo in others
        if side_of[photo] == side_of[first]
    ]
    return [f"The same photo twice on one list: {_list(pairs)}."] if pairs else []


def notes_on_mattes(mattes: Sequence[Path], alpha_counts: Sequence[np.ndarray]) -> list[str]:
    """Lines on training mattes that are hard masks or stored with loss.

    Parameters
    ----------
    mattes : sequence of Path
    alpha_counts : sequence of (256,) ndarray
        How many pixels of each matte have each value.
    """
    notes = []
    hard = [
        matte.name
        for matte, counts in zip(mattes, alpha_counts, strict=True)
        if not counts[1:-1].any()
    ]
    if hard and len(hard) == len(mattes):
        notes.append(
            "All training mattes are hard masks, without a fractional pixel: p(alpha) from "
            "them is degenerate. Bring soft mattes, or train with p_alpha null (the paper's "
            "5 % of fractional pixels)."
        )
    elif hard:
        notes.append(f"Hard masks, without a fractional pixel, for training: {_list(hard)}.")
    lossy = [matte.name for matte in mattes if matte.suffix.lower() in JPEG_SUFFIXES]
    if lossy:
        notes.append(
            "JPEG mattes for training, whose noise counts as fractional alpha (PNG keeps 0 "
            f"and 255): {_list(lossy)}."
        )
    return notes
