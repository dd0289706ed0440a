"""Errors of a matting method on many portraits, kept in a file image by image.

An image that has been measured with the same net, weights, versions of the code, photo
and matte is not measured again: a run that was killed continues with the next image.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from data_prep.common.assets import ASSETS
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.files import atomic_write
from data_prep.datasets.dataset import Portrait
from prototxt.catalog import MEAN_BGR
from tools.evaluation.estimates import Errors
from tools.evaluation.methods import MattingMethod
from tools.evaluation.metrics import METRICS_VERSION, MatteErrors
from tools.evaluation.portraits import ground_truths
from tools.matting.models import MATTES_VERSION


class ErrorsFile:
    """Errors by portrait in a file of JSON lines that a kill does not spoil.

    Parameters
    ----------
    path : Path
        Made if missing.  An incomplete line, which a kill leaves behind, is ignored.
        Errors that were stored under other keys are kept.
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
        """Errors of a portrait that were stored under this key, if any."""
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


def mattes_key(name: str, settings: Mapping[str, object], files: Sequence[Path]) -> str:
    """Digest of everything, besides the portrait, that errors of mattes depend on.

    Parameters
    ----------
    name, settings, files
        See `tools.evaluation.methods.MattingMethod`.
    """
    return content_key(
        {
            # The names in this mapping are part of the digest: errors on disk depend on them.
            "contender": name,
            "settings": dict(settings),
            "files": [sha256_of(path) for path in files],
            "mattes": MATTES_VERSION,
            "metrics": METRICS_VERSION,
            "mean": MEAN_BGR,
            "landmark_model": ASSETS["landmark-model"].sha256,
        }
    )


def method_key(method: MattingMethod) -> str:
    """`mattes_key` of a method."""
    return mattes_key(method.name, method.settings, method.files)


def errors_of(method: MattingMethod, portraits: Sequence[Portrait], folder: Path) -> Errors:
    """Errors of a method; those that ``folder``/NAME.jsonl holds are not measured again.

    Parameters
    ----------
    method : MattingMethod
    portraits : sequence of Portrait
    folder : Path
        Made if missing.

    Raises
    ------
    InputError
        As `tools.evaluation.portraits.ground_truths`.
    """
    stored = ErrorsFile(folder / f"{method.name}.jsonl")
    key = method_key(method)
    keys = {
        each.stem: content_key(key, sha256_of(each.photo), sha256_of(each.matte))
        for each in portraits
    }
    known = {stem: stored.get(stem, key) for stem, key in keys.items()}
    todo = [portrait for portrait in portraits if known[portrait.stem] is None]
    if todo:
        matte = method.load()
        progress = tqdm(
            todo, method.name, len(portraits), initial=len(portraits) - len(todo), unit="image"
        )
        for truth in ground_truths(progress):
            stem = truth.portrait.stem
            known[stem] = errors = truth.errors_of(matte(truth.photo, truth.alpha))
            stored.add(stem, keys[stem], errors)
    return {stem: errors for stem, errors in known.items() if errors is not None}
