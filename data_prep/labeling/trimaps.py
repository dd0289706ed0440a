"""Labeled trimaps, as people draw them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from data_prep.common.errors import InputError
from data_prep.common.images import read_matte
from data_prep.datasets.matte_checks import describe_levels, inversion_fault

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255
#: Labels this near are taken for the label: editors and JPEG move them a little.
TRIMAP_TOLERANCE = 16


def read_trimap(path: Path) -> np.ndarray:
    """Read a labeled trimap.

    Returns
    -------
    (H, W) uint8 ndarray
        Only `BACKGROUND`, `UNKNOWN` and `FOREGROUND`.

    Raises
    ------
    InputError
        As `read_matte`, and if it has other values, lacks one of the three or is
        inverted.
    """
    gray = read_matte(path)
    trimap = np.full(gray.shape, UNKNOWN, np.uint8)
    strange = np.ones(gray.shape, bool)
    for label in (BACKGROUND, UNKNOWN, FOREGROUND):
        near = np.abs(gray.astype(int) - label) <= TRIMAP_TOLERANCE
        trimap[near] = label
        strange &= ~near
    if strange.any():
        value = Counter(gray[strange].tolist()).most_common(1)[0][0]
        raise InputError(
            f"{path} has {np.count_nonzero(strange)} pixels that are no label, most of "
            f"them {value}; a trimap is 0, 128 and 255 (within {TRIMAP_TOLERANCE})."
        )
    names = {FOREGROUND: "foreground", BACKGROUND: "background", UNKNOWN: "unknown"}
    for label, name in names.items():
        if not (trimap == label).any():
            raise InputError(
                f"{path} has no {name} pixels, its values are {describe_levels(gray)}; "
                f"label some with {label}."
            )
    if fault := inversion_fault(np.where(trimap == FOREGROUND, FOREGROUND, BACKGROUND)):
        raise InputError(f"{path} {fault}.")
    return trimap
