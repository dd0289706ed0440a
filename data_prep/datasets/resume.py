"""Resumable work on many files, which skips bad ones and survives a kill.

Each task yields an `Outcome`: a record (JSON) of what was written, or a problem.
Records go to a journal as they come.  A record carries a key made from the
content of all inputs: the next run takes it over if the key is the same and
the files it names are still what they were.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.datasets.manifest import JOURNAL, DatasetManifest, Problem


class Outcome(NamedTuple):
    """What came of one task: a record or a problem, and whether files were written."""

    record: dict | None = None
    problem: Problem | None = None
    new: bool = False


class Journal:
    """Records of a run, one JSON line each.

    Parameters
    ----------
    folder : Path
        The journal lies there until `close`.
    name : str, optional
        Name of the journal's file.
    """

    def __init__(self, folder: Path, name: str = JOURNAL) -> None:
        self._path = folder / name

    def read(self) -> list[dict]:
        """Records of an earlier run that did not end.

        A kill in the middle of a write leaves half a line: it does not count.
        """
        records = []
        if self._path.is_file():
            text = self._path.read_text(encoding="utf-8", errors="replace")
            for line in text.splitlines():
                try:
                    records.append(json.loads(line))
                except ValueError:
                    continue
        return records

    @property
    def begun(self) -> bool:
        """Whether a run that did not end was here, even if it got nothing done."""
        return self._path.is_file()

    def start(self, records: Iterable[dict] = ()) -> None:
        """Begin anew with these records."""
        with atomic_write(self._path) as scratch:
            scratch.write_text("".join(f"{json.dumps(record)}\n" for record in records))

    def append(self, record: dict) -> None:
        """Add one record; it is in the file when this returns.

        It begins a line of its own, also behind half a line.
        """
        with open(self._path, "a+b") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
            begin = "" if stream.read(1) in (b"", b"\n") else "\n"
            stream.write(f"{begin}{json.dumps(record)}\n".encode())

    def close(self) -> None:
        """The run has ended and its result is written elsewhere."""
        self._path.unlink(missing_ok=True)


def known_records(out: Path, manifest: DatasetManifest | None, foreign: str) -> dict[str, dict]:
    """What earlier runs into a folder made, by stem.

    Parameters
    ----------
    out : Path
    manifest : DatasetManifest or None
        The folder's.
    foreign : str
        What to say of a folder that no such run made.

    Raises
    ------
    InputError
        If the folder holds anything, and neither a manifest nor a journal.
    """
    journal = Journal(out)
    if manifest is None and not journal.begun and out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is not empty and {foreign}; choose another --out.")
    portraits = {} if manifest is None else manifest.portraits
    records = [{"stem": stem, **record} for stem, record in portraits.items()]
    return {record["stem"]: record for record in [*records, *journal.read()]}


def is_done(record: dict | None, key: str, folder: Path) -> bool:
    """Whether a record has this key and its `files` are still what they were."""
    return (
        record is not None
        and record["key"] == key
        and all(
            (folder / name).is_file() and sha256_of(folder / name) == digest
            for name, digest in record["files"].items()
        )
    )


def problem_of(error: Exception, files: Sequence[Path]) -> Problem:
    """The problem that an exception describes, with the file at fault.

    Parameters
    ----------
    error : InputError or OSError
    files : sequence of Path
        The first one whose path begins the message is at fault; else the last.
    """
    if isinstance(error, OSError):
        file = Path(error.filename or files[-1])
        return Problem(file, f"it cannot be read ({error.strerror})")
    message = str(error)
    file = next((file for file in files if message.startswith(str(file))), files[-1])
    reason = message.removeprefix(f"{file}: ").rstrip(".")
    if reason.startswith(f"{file} "):
        reason = f"it{reason.removeprefix(str(file))}"
    return Problem(file, reason)


def run_resumable(
    function: Callable[[Any], Outcome],
    tasks: Sequence[Any],
    journal: Journal,
    known: Iterable[dict],
    workers: int,
    label: str,
) -> tuple[list[dict], list[Problem], int]:
    """Run all tasks, with a progress bar; the journal keeps what is done.

    Parameters
    ----------
    function : callable
        At the top level of a module.
    tasks : sequence
    journal : Journal
        Left open: close it when the results are written.
    known : iterable of dict
        Records of earlier runs.
    workers : int
        Processes.
    label : str
        What the progress bar says.

    Returns
    -------
    records : list of dict
        In the order of the tasks.
    problems : list of Problem
    new : int
        How many records are new.
    """
    journal.start(known)
    records, problems, new = [], [], 0
    # Programs that only read journals need neither.
    from tqdm import tqdm

    from data_prep.common.parallel import map_in_order

    outcomes = map_in_order(function, tasks, workers)
    for outcome in tqdm(outcomes, label, len(tasks), unit="portrait"):
        if outcome.problem is not None:
            problems.append(outcome.problem)
            continue
        records.append(outcome.record)
        if outcome.new:
            journal.append(outcome.record)
            new += 1
    return records, problems, new
