"""`dataset.json`: what a dataset was made from, and the checksum of every file.

A dataset works without this file.  With it, a photo or matte that has changed
since is noticed.  The lists train.txt and test.txt carry no checksum: taking a
portrait off them is how one leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write

MANIFEST = "dataset.json"
#: Records of a run that has not ended; a folder that has it is no dataset yet.
JOURNAL = "unfinished.jsonl"


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file of a dataset."""

    file: Path
    reason: str

    def __str__(self) -> str:
        return f"  {self.file}: {self.reason}"


@dataclass(frozen=True)
class DatasetManifest:
    """Content of `dataset.json`.

    Attributes
    ----------
    origin : dict
        Format and name of the collection; empty where nobody knows.
    files : dict of str to str
        sha256 of every photo and matte, by path inside the dataset.
    portraits : dict of str to dict
        By stem: what each portrait was made from and how.
    rejected : list of dict
        `file` and `reason` of everything that was not taken.
    choices : dict of str to str
        By stem: the matting method a person chose, or "discard".
    """

    origin: dict = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    portraits: dict[str, dict] = field(default_factory=dict)
    rejected: list[dict[str, str]] = field(default_factory=list)
    choices: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write to a dataset's folder, atomically."""
        with atomic_write(folder / MANIFEST) as scratch:
            scratch.write_text(json.dumps(asdict(self), indent=1, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> DatasetManifest | None:
        """Manifest of a dataset; None where there is none.

        Raises
        ------
        InputError
            If the file is no manifest.
        """
        path = folder / MANIFEST
        if not path.is_file():
            return None
        try:
            manifest = cls(**json.loads(path.read_text(encoding="utf-8")))
            for part in fields(cls):
                if type(getattr(manifest, part.name)) is not part.default_factory:
                    raise TypeError(part.name)
            return manifest
        except (ValueError, TypeError):
            raise InputError(
                f"{path} is no dataset manifest; delete it, or write it again with "
                f"`python -m data_prep.dataset_manifest {folder}`."
            ) from None

    def problems(self, folder: Path, paths: Iterable[Path]) -> list[Problem]:
        """One problem for each file that is not the one this was written for."""
        found = []
        for path in paths:
            expected = self.files.get(path.relative_to(folder).as_posix())
            if expected is not None and sha256_of(path) != expected:
                reason = (
                    f"it is not the file that {MANIFEST} was written for; restore it, or, "
                    "if the change is meant, run "
                    f"`python -m data_prep.dataset_manifest {folder}`"
                )
                found.append(Problem(path, reason))
        return found


def rejection_lines(rejected: Sequence[dict[str, str]]) -> list[str]:
    """Every rejected file with its reason, one a line, under a heading; possibly empty."""
    if not rejected:
        return []
    heading = f"{len(rejected)} file{'s' * (len(rejected) > 1)} rejected:"
    return [heading, *(f"  {each['file']}: {each['reason']}" for each in rejected)]


def check_finished(folder: Path) -> None:
    """Refuse a folder whose import was interrupted.

    Raises
    ------
    InputError
        If the folder holds a journal.
    """
    if (folder / JOURNAL).is_file():
        raise InputError(f"{folder} is not finished; run the command that makes it again.")


def describe_files(folder: Path) -> DatasetManifest:
    """The folder's manifest with the checksums of the photos and mattes it has now.

    Raises
    ------
    InputError
        If there are no images and mattes.
    """
    from tqdm import tqdm  # programs that read manifests do not need it

    parts = [folder / "images", folder / "mattes"]
    for part in parts:
        if not part.is_dir():
            raise InputError(f"{part} does not exist; a dataset has images and mattes.")
    paths = [path for part in parts for path in sorted(part.iterdir()) if path.is_file()]
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path)
        for path in tqdm(paths, "checksums", leave=False)
        if not path.name.startswith(".")
    }
    try:
        known = asdict(DatasetManifest.load(folder) or DatasetManifest())
    except InputError:  # this is the way to repair it
        known = {}
    return DatasetManifest(**{**known, "files": files})
