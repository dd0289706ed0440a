"""What rendered portraits show, as the studio chose it.

The studio records all its choices for a portrait in `meta/STEM.json`; a set that is to be small
has those that tell photos apart in one file, contents.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.common.files import atomic_write

FILE = "contents.json"
#: The choices that the file has.
KEPT = ("hand", "accessories", "background")


def read_contents(folder: Path, stems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The choices for portraits of a set, `KEPT` at least, by stem; without those it knows not.

    Parameters
    ----------
    folder : Path
        Of the set, with `meta/` or contents.json.
    stems : sequence of str
    """
    # The files are read without the studio's modules, which need another environment.
    path = folder / FILE
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = {stem: known[stem] for stem in stems if stem in known}
    for stem in stems:
        file = folder / f"meta/{stem}.json"
        if file.is_file():
            found[stem] = json.loads(file.read_text(encoding="utf-8"))["choice"]
    return found


def write_contents(source: Path, target: Path, stems: Sequence[str]) -> None:
    """Write contents.json of a smaller set: a line for each portrait of another one."""
    contents = read_contents(source, stems)
    lines = [f"{json.dumps(stem)}: {_kept(choice)}" for stem, choice in contents.items()]
    with atomic_write(target / FILE) as scratch:
        scratch.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _kept(choice: Mapping[str, Any]) -> str:
    return json.dumps({name: choice[name] for name in KEPT}, sort_keys=True)
