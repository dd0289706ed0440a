"""Files and folders that must not be lost."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from data_prep.errors import InputError


def move_aside(path: Path) -> Path:
    """Rename a file or folder that no longer fits, beside where it was.

    Parameters
    ----------
    path : Path
        ``net.caffemodel`` becomes ``net.stale-1.caffemodel``, the folder ``net`` becomes
        ``net.stale-1``; with the next number where that is taken.

    Returns
    -------
    Path
        Its new name.

    Raises
    ------
    InputError
        If it cannot be renamed.
    """
    stem, suffix = (path.name, "") if path.is_dir() else (path.stem, path.suffix)
    candidates = (path.with_name(f"{stem}.stale-{number}{suffix}") for number in count(1))
    aside = next(each for each in candidates if not (each.exists() or each.is_symlink()))
    try:
        return path.rename(aside)
    except OSError as error:
        raise InputError(
            f"{path} could not be renamed to {aside.name} ({error.strerror}); move it yourself."
        ) from error
