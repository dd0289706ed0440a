"""Journal of an output folder: the request and the photo that each file was made from.

A line of JSON is added for every photo that is done, so a killed run is remembered up
to there.  A file is current if it and its photo are what they were and the same was
asked of it; anything else is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_prep.common.digests import sha256_of
from data_prep.datasets.resume import Journal

NAME = ".matte.jsonl"

State = dict[str, Any]
#: Key of its request, its state and its photo's state, by the name of a file in the folder.
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
                name: {"key": file["key"], "state": file["state"], "photo": record["photo"]}
                for name, file in record["files"].items()
            }
        except (TypeError, KeyError, AttributeError):  # edited by hand
            continue
    return entries


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
        and is_unchanged(file, entry["state"])
        and is_unchanged(photo, entry["photo"])
    )


def add_entry(folder: Path, photo: State, keys: Mapping[Path, str]) -> None:
    """Remember the files of one photo.

    Parameters
    ----------
    folder : Path
    photo : dict
        State of the photo that was read.
    keys : mapping of Path to str
        Stand for what was asked, by file in `folder`.
    """
    files = {
        path.relative_to(folder).as_posix(): {"key": key, "state": state_of(path)}
        for path, key in keys.items()
    }
    Journal(folder, NAME).append({"photo": photo, "files": files})
