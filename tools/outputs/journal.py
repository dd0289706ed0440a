"""Journal of an output folder: the request and the photo that each file was made from.

A line of JSON is added for every file right before it gets its name, so a killed run is
remembered up to there.  A file is current if it and its photo are what they were and the
same was asked of it.  Anything else is made again, but a file that is not as it was ever
written here is somebody's work.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.common.digests import sha256_of
from data_prep.datasets.resume import Journal

NAME = ".matte.jsonl"

State = dict[str, Any]
#: Key of its request, its state, its earlier states, and its photo's state (None: of a
#: pipe), by the name of a file in the folder.
Entries = dict[str, dict[str, Any]]


def state_of(path: Path) -> State:
    """What a file is now: its size, its time, its content's digest."""
    found = path.stat()
    return {"size": found.st_size, "modified": found.st_mtime_ns, "sha256": sha256_of(path)}


def is_unchanged(path: Path, state: State) -> bool:
    """Whether a file is there with the content that it had; copies keep it."""
    if not path.is_file():
        return False
    found = path.stat()
    if found.st_size != state["size"]:
        return False
    return found.st_mtime_ns == state["modified"] or sha256_of(path) == state["sha256"]


def read_entries(folder: Path) -> Entries:
    """The last entry of every file; none where nothing is remembered."""
    entries: Entries = {}
    for record in Journal(folder, NAME).read():
        try:
            entries |= {
                name: {
                    "key": file["key"],
                    "state": file["state"],
                    "earlier": _states(entries.get(name)),
                    "photo": record["photo"],
                }
                for name, file in record["files"].items()
            }
        except (TypeError, KeyError, AttributeError):  # edited by hand
            continue
    return entries


def _states(entry: Mapping[str, Any] | None) -> list[State]:
    """All states that a file was written in."""
    return [] if entry is None else [*entry["earlier"], entry["state"]]


def is_own(entry: Mapping[str, Any] | None, file: Path) -> bool:
    """Whether nobody's work is lost with a file: it is not there, or as it was written once.

    Parameters
    ----------
    entry : mapping or None
        The file's, as `read_entries` gives it.
    file : Path
    """
    return not file.is_file() or any(is_unchanged(file, state) for state in _states(entry))


def is_current(entry: Mapping[str, Any] | None, key: str, file: Path, photo: Path) -> bool:
    """Whether a file needs not be made again.

    Parameters
    ----------
    entry : mapping or None
        The file's, as `read_entries` gives it.
    key : str
        Stands for what is asked now.
    file, photo : Path
    """
    return (
        entry is not None
        and entry["key"] == key
        and entry["photo"] is not None
        and is_unchanged(file, entry["state"])
        and is_unchanged(photo, entry["photo"])
    )


def add_entry(folder: Path, photo: State | None, file: Path, key: str, state: State) -> None:
    """Remember a file.

    Parameters
    ----------
    folder : Path
    photo : dict or None
        State of the photo that was read; None if it came through a pipe.
    file : Path
        In `folder`.
    key : str
        Stands for what was asked.
    state : dict
        The file's.
    """
    name = file.relative_to(folder).as_posix()
    Journal(folder, NAME).append({"photo": photo, "files": {name: {"key": key, "state": state}}})
