"""Memory that is free again goes back to the system."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give what was freed back to the system, where the C library is glibc.

    It keeps blocks of up to 32 MiB for itself, which larger ones, an image's, cannot use.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
