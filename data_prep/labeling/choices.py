"""What a person chose, and the dataset of it."""

from __future__ import annotations

import json
from pathlib import Path

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError
from data_prep.common.files import copy_file
from data_prep.datasets.dataset import split_stems, write_lists
from data_prep.datasets.manifest import DatasetManifest
from data_prep.datasets.resume import Journal
from data_prep.labeling.candidates import CANDIDATES, read_index
from data_prep.labeling.mattes import METHODS
from data_prep.labeling.page import DISCARD, PAGE

ORIGIN = {"format": "make_mattes"}


def read_choices(path: Path, records: dict[str, dict]) -> dict[str, str]:
    """Choices that the page saved, checked against the candidates.

    Parameters
    ----------
    path : Path
        choices.json.
    records : dict
        Candidates by stem.

    Returns
    -------
    dict of str to str
        Method, or "discard", by stem.

    Raises
    ------
    InputError
        If the file is no such file, names a portrait or method that does not
        exist, or was saved before the mattes were made again.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; save it from {PAGE}.")
    try:
        choices = json.loads(path.read_text(encoding="utf-8"))["choices"]
        chosen = {stem: (each["method"], each["candidates"]) for stem, each in choices.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path} is not what {PAGE} saves; save it again.") from None
    for stem, (method, candidates) in chosen.items():
        if stem not in records:
            raise InputError(f"{path} chooses for {stem}, which has no candidates here.")
        if method not in (*METHODS, DISCARD):
            names = ", ".join((*METHODS, DISCARD))
            raise InputError(f"{path} chooses '{method}' for {stem}; there are {names}.")
        if candidates != records[stem]["key"]:
            raise InputError(
                f"{path} is older than the mattes of {stem}; open {PAGE} and choose again."
            )
    return {stem: method for stem, (method, _) in chosen.items()}


def apply_choices(choices_file: Path, out: Path, seed: int = 0) -> DatasetManifest:
    """Make `out` a dataset of the chosen mattes.

    Parameters
    ----------
    choices_file : Path
    out : Path
        With candidates.
    seed : int
        Seed of the split.

    Returns
    -------
    DatasetManifest
        As written to `out`, with the choices.

    Raises
    ------
    InputError
        If there are no candidates, the choices do not fit them, no matte is
        chosen, or a candidate has changed.
    """
    folder = out / CANDIDATES
    index = read_index(folder)
    if index is None:
        raise InputError(
            f"{folder} holds no candidates; run `python -m data_prep.make_mattes IMAGES "
            f"TRIMAPS --out {out}` first."
        )
    records = {record["stem"]: record for record in index["records"]}
    choices = read_choices(choices_file, records)
    taken = {stem: method for stem, method in choices.items() if method != DISCARD}
    if not taken:
        raise InputError(f"{choices_file} chooses no matte; nothing to apply.")
    copies: dict[str, str] = {}  # path in the dataset: path in the candidates
    for stem, method in taken.items():
        names = records[stem]["names"]
        copies[f"images/{Path(names['photo']).name}"] = names["photo"]
        copies[f"mattes/{Path(names[method]).name}"] = names[method]
    undecided = [
        {"file": records[stem]["names"]["photo"], "reason": f"no choice was made in {PAGE}"}
        for stem in sorted(records.keys() - choices.keys())
    ]
    digests = {name: digest for r in records.values() for name, digest in r["files"].items()}
    for name in copies.values():
        if not (folder / name).is_file() or sha256_of(folder / name) != digests[name]:
            raise InputError(
                f"{folder / name} has changed since it was made; make the candidates again."
            )
    earlier = DatasetManifest.load(out) or DatasetManifest(origin=ORIGIN)
    journal = Journal(out)
    written = set(earlier.files).union(*(record["files"] for record in journal.read()))
    if earlier.origin != ORIGIN or (not written and (out / "images").exists()):
        raise InputError(f"{out} is a dataset of another kind; choose another --out.")
    written |= copies.keys()
    journal.start([{"files": sorted(written)}])
    for target, name in copies.items():
        copy_file(folder / name, out / target)
    for name in written - copies.keys():
        (out / name).unlink(missing_ok=True)
    write_lists(out, *split_stems(list(taken), seed))
    manifest = DatasetManifest(
        origin=ORIGIN,
        files={target: digests[name] for target, name in copies.items()},
        portraits={stem: {"inputs": records[stem]["inputs"]} for stem in taken},
        rejected=index["rejected"] + undecided,
        choices=choices,
    )
    manifest.save(out)
    journal.close()
    return manifest
