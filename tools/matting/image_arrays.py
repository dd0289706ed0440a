"""Arrays that callers of the library give for images, and what messages call them."""

from __future__ import annotations

import numpy as np

from data_prep.common.errors import InputError


def described(values: object) -> str:
    """What somebody gave for an array, in a message: its shape and type, or what it is.

    >>> described(np.zeros((2, 3), np.uint8)), described((0, 0, 255)), described(None)
    ('(2, 3) of uint8', 'tuple', 'None')
    """
    if isinstance(values, np.ndarray):
        return f"{values.shape} of {values.dtype}"
    return "None" if values is None else type(values).__name__


def check_image(image: object, name: str) -> None:
    """Refuse what is no image of three channels; `name` is what the message calls it.

    Raises
    ------
    InputError
        If it is no (H, W, 3) array of uint8 or uint16.
    """
    if (
        not isinstance(image, np.ndarray)
        or image.ndim != 3
        or image.shape[2] != 3
        or image.dtype not in (np.uint8, np.uint16)
    ):
        raise InputError(
            f"{name} is an (H, W, 3) array of uint8 or uint16, not {described(image)}; "
            "convert it first."
        )
