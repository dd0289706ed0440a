"""Files and folders that must not be lost."""

from __future__ import annotations

import filecmp
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from itertools import count
from pathlib import Path

from data_prep.common.errors import REMEDIES, InputError, sentence_of

logger = logging.getLogger(__name__)

LONGEST_NAME = 255  # bytes, of Linux file systems
LONGEST_ADDITION = 12  # of a scratch name: two dots and a process's number


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


def _scratch_stem(path: Path) -> str:
    """Stem of a file's scratch name, cut where the name would be longer than the file's may be."""
    room = LONGEST_NAME - len(os.fsencode(path.suffix)) - LONGEST_ADDITION
    return path.stem.encode(errors="surrogateescape")[:room].decode(errors="ignore")


@contextmanager
def atomic_write(path: Path | str) -> Iterator[Path]:
    """Write a file so that it appears complete or not at all.

    Yields a path in the same folder with the same suffix; it is renamed to
    `path` when the block ends, and removed when the block fails.  Missing
    parent folders are made.

    Raises
    ------
    InputError
        If the file cannot be written (disk full, no permission, a folder of
        that name).
    """
    path = Path(path)
    scratch = path.with_name(f".{_scratch_stem(path)}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        os.replace(scratch, path)
    except OSError as error:
        if isinstance(error.filename, str | bytes):
            failed = Path(os.fsdecode(error.filename))
            if failed not in (scratch, path, *path.parents):
                # A file that the content is made from, or one that it is noted in.
                raise InputError(sentence_of(error)) from error
        remedy = REMEDIES.get(error.errno or 0, "choose another place")
        raise InputError(
            f"{path} could not be written ({error.strerror or error}); {remedy}."
        ) from error
    finally:
        with suppress(OSError):  # its folder is none: nothing was written either
            scratch.unlink(missing_ok=True)


@contextmanager
def atomic_write_keeping(path: Path) -> Iterator[Path]:
    """As `atomic_write`, for a file that may be somebody's work of hours.

    An existing file with another content is moved aside, and a warning says where it is.

    Raises
    ------
    InputError
        If the file cannot be written, or the existing one not be renamed.
    """
    with atomic_write(path) as scratch:
        yield scratch
        if path.is_file() and not filecmp.cmp(scratch, path, shallow=False):
            logger.warning("%s was another one; it is kept in %s.", path, move_aside(path))


def remove_leftovers(path: Path) -> None:
    """Remove what an `atomic_write` to `path` left that was killed in the middle."""
    for scratch in path.parent.glob(f".{escape(_scratch_stem(path))}.*{escape(path.suffix)}"):
        scratch.unlink(missing_ok=True)


def remove_all_leftovers(folder: Path) -> None:
    """As `remove_leftovers`, of all files in a folder."""
    for path in folder.glob(".*"):
        if re.fullmatch(r"\..+\.\d+(\.\w+)?", path.name):
            path.unlink(missing_ok=True)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file's content, as `atomic_write` writes.

    Raises
    ------
    InputError
        If the copy cannot be made.
    """
    with atomic_write(target) as scratch:
        shutil.copyfile(source, scratch)


def require_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written into, before hours of work.

    Raises
    ------
    InputError
    """
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not there.is_dir():
        raise InputError(f"{there} is a file, not a folder; choose another place.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(f"{there} is a folder that may not be written into; choose another one.")


def require_file(path: Path, name: Path | str | None = None) -> None:
    """Refuse a path that is no file; `name` is what the message calls it.

    Raises
    ------
    InputError
    """
    if not path.is_file():
        raise InputError(f"{name or path} does not exist or is no file; check the name.")
