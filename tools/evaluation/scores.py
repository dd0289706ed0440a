"""Errors of a contender on many portraits: kept image by image, summed up, compared.

An image that has been measured with the same net, weights, versions of the code, photo
and matte is not measured again, so a run that is killed goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from data_prep.common.assets import ASSETS
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.files import atomic_write
from data_prep.datasets.dataset import Portrait, load_portrait
from data_prep.datasets.manifest import DatasetManifest
from prototxt.catalog import MEAN_BGR
from tools.evaluation.estimates import Scores
from tools.evaluation.methods import Contender
from tools.evaluation.metrics import METRICS_VERSION, MatteErrors, evaluate
from tools.matting.models import MATTES_VERSION


class ScoreFile:
    """Errors by portrait in a file of JSON lines that a kill does not spoil.

    Parameters
    ----------
    path : Path
        Made if missing.  Half a line, which a kill leaves, does not count.  What was
        measured under another key stays.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[tuple[str, str], dict] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else ()
        for line in lines:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            self._records[record["stem"], record["key"]] = record
        with atomic_write(path) as scratch:
            scratch.write_text("".join(map(_line, self._records.values())), encoding="utf-8")

    def get(self, stem: str, key: str) -> MatteErrors | None:
        """Errors of a portrait that were stored under the same key."""
        record = self._records.get((stem, key))
        return None if record is None else MatteErrors(**record["errors"])

    def add(self, stem: str, key: str, errors: MatteErrors) -> None:
        """Store errors; they are in the file when this returns."""
        record = {"stem": stem, "key": key, "errors": asdict(errors)}
        self._records[stem, key] = record
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(_line(record))


def _line(record: dict) -> str:
    return json.dumps(record) + "\n"


def key_of(contender: Contender) -> str:
    """Stands for all that a contender's errors depend on besides the portrait."""
    return content_key(
        {
            "contender": contender.name,
            "settings": dict(contender.settings),
            "files": [sha256_of(path) for path in contender.files],
            "mattes": MATTES_VERSION,
            "metrics": METRICS_VERSION,
            "mean": MEAN_BGR,
            "landmark_model": ASSETS["landmark-model"].sha256,
        }
    )


def scores_of(contender: Contender, portraits: Sequence[Portrait], folder: Path) -> Scores:
    """Errors of a contender, those known from ``folder``/NAME.jsonl read from there.

    Parameters
    ----------
    contender : Contender
    portraits : sequence of Portrait
    folder : Path
        Made if missing.

    Raises
    ------
    InputError
        As `load_portrait`.
    """
    stored = ScoreFile(folder / f"{contender.name}.jsonl")
    contender_key = key_of(contender)
    keys = {
        portrait.stem: content_key(
            contender_key, sha256_of(portrait.photo), sha256_of(portrait.matte)
        )
        for portrait in portraits
    }
    scores = {stem: stored.get(stem, key) for stem, key in keys.items()}
    todo = [portrait for portrait in portraits if scores[portrait.stem] is None]
    matte = contender.load() if todo else None
    for portrait in tqdm(
        todo, contender.name, len(portraits), initial=len(portraits) - len(todo), unit="image"
    ):
        photo, true_matte = load_portrait(portrait)
        truth = true_matte / 255
        scores[portrait.stem] = errors = evaluate(matte(photo, truth), truth)
        stored.add(portrait.stem, keys[portrait.stem], errors)
    return scores


# --- statistics -------------------------------------------------------------------


def people_of(folder: Path, portraits: Sequence[Portrait]) -> dict[str, object]:
    """Who is on each photo, as the set's manifest knows; otherwise all are different."""
    manifest = DatasetManifest.load(folder) or DatasetManifest()
    known = manifest.portraits
    return {each.stem: known.get(each.stem, {}).get("person", each.stem) for each in portraits}
