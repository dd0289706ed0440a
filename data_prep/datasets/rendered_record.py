"""What a rendered set holds, short enough for git: who is on which side, and digests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import LISTS, VALIDATION
from data_prep.datasets.lists import read_lines
from data_prep.datasets.manifest import MANIFEST, DatasetManifest, check_finished

SIDES = (*LISTS, VALIDATION)


def describe_set(folder: Path) -> dict:
    """Origin of a rendered set and, for each side and person, photos and digest.

    The digest is of the names and the sha256 of a person's photos and mattes;
    a person's name is that of the rendered photo with the smallest number.

    Raises
    ------
    InputError
        If the folder is no finished rendered set, or a list names what its manifest lacks.
    """
    check_finished(folder)
    manifest = DatasetManifest.load(folder)
    if manifest is None or manifest.origin.get("format") != "rendered":
        raise InputError(f"{folder} is no rendered set; make one with `make portrait-set`.")
    record: dict = {"origin": manifest.origin}
    for side in SIDES:
        stems: dict[int, list[str]] = {}
        path = folder / f"{side}.txt"
        listed = (line.text for line in (read_lines(path) if path.is_file() else ()))
        for stem in sorted(listed):
            if stem not in manifest.portraits:
                raise InputError(
                    f"{path} names {stem}, which {folder / MANIFEST} lacks; take the line out, or "
                    "render the set again with `make portrait-set`."
                )
            stems.setdefault(manifest.portraits[stem]["person"], []).append(stem)
        record[side] = {
            of_person[0]: {
                "photos": len(of_person),
                "sha256": _digest(manifest, of_person),
            }
            for of_person in stems.values()
        }
    return record


def _digest(manifest: DatasetManifest, stems: Iterable[str]) -> str:
    lines = (
        f"{name} {manifest.files[name]}\n"
        for stem in stems
        for name in sorted(manifest.portraits[stem]["files"])
        if name in manifest.files
    )
    return sha256("".join(lines).encode()).hexdigest()


def read_record(path: Path) -> dict:
    """What `format_record` wrote.

    Raises
    ------
    InputError
        If the file is missing or something else.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        people = [entry for side in SIDES for entry in record[side].values()]
        if all(isinstance(entry, dict) for entry in (record["origin"], *people)):
            return record
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass
    raise InputError(
        f"{path} is no record of a rendered set; take it from git again, or write it with "
        f"`python -m data_prep.set_record FOLDER {path} --write`."
    )


def differences(found: dict, recorded: dict) -> list[str]:
    """One line for each person who is not as recorded; possibly empty."""
    lines = []
    if found["origin"] != recorded["origin"]:
        lines.append(f"made with other settings: {found['origin']}")
    for side in SIDES:
        for person in sorted(found[side].keys() | recorded[side].keys()):
            if person not in found[side]:
                lines.append(f"{side} {person}: missing")
            elif person not in recorded[side]:
                lines.append(f"{side} {person}: not in the record")
            elif found[side][person] != recorded[side][person]:
                lines.append(f"{side} {person}: other photos or mattes")
    return lines


def format_record(record: dict) -> str:
    """JSON with one person a line, so that changes show in a diff."""
    sides = []
    for side in SIDES:
        people = ",\n".join(
            f"  {json.dumps(person)}: {json.dumps(entry)}" for person, entry in record[side].items()
        )
        sides.append(f"{json.dumps(side)}: {{\n{people}\n }}")
    return f'{{"origin": {json.dumps(record["origin"])},\n ' + ",\n ".join(sides) + "}\n"
