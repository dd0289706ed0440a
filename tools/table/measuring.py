"""The rows of Table 1 on the test split, as they were chosen on validation people."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from data_prep.common.files import move_aside
from data_prep.common.images import read_matte
from data_prep.datasets.resume import Journal
from tools.evaluation.estimates import Errors
from tools.evaluation.measuring import ALL, Measurement, PhotoErrors, Task
from tools.evaluation.metrics import MatteErrors
from tools.evaluation.report import write_report
from tools.evaluation.trimaps import (
    BAND_WIDTHS,
    band_confusions,
    classes_of_matte,
    confusion_matrix,
)
from tools.evaluation.truths import MATTES, PhotoTruth
from tools.outputs.sheets import TRIMAP_GRAYS
from tools.table.row_mattes import RowMattes, Seconds
from tools.table.rows import Row
from tools.table.runs import Family, run_named
from tools.table.training import Training, warm_iterations_of
from tools.table.tuning import chosen_mattes

logger = logging.getLogger(__name__)

CHOICE = "choice.json"
TIMED = 3  # photos whose time is taken


@dataclass(frozen=True)
class MeasuredRow:
    """A row's errors on test images.

    Attributes
    ----------
    row : Row
    choice : dict
        As the choices file holds it.
    iterations : (int, int) or None
        Of the warm start, and after it; None without a net.
    photos : list of PhotoErrors
    confusion : (3, 3) int ndarray
        Pixels by true class and by the class before widening: foreground, background, unknown.
    bands : (N, 3, 3) int ndarray
        The same in bands round the true boundary (`tools.evaluation.trimaps.BAND_WIDTHS`).
    seconds : Seconds
        That a photo takes in one process.
    """

    row: Row
    choice: dict[str, Any]
    iterations: tuple[int, int] | None
    photos: list[PhotoErrors]
    confusion: np.ndarray
    bands: np.ndarray
    seconds: Seconds

    @property
    def people(self) -> dict[str, Hashable]:
        """Who is on each image, by name."""
        return {each.name: each.person for each in self.photos}

    def errors(self, region: str = ALL) -> Errors:
        """Errors by image; images without such pixels are left out."""
        names = [each.name for each in fields(MatteErrors)]
        return {
            each.name: MatteErrors(**{name: each.values[region][name] for name in names})
            for each in self.photos
            if region in each.values
        }


def confusions_of(truths: Sequence[PhotoTruth], trimaps: Path) -> tuple[np.ndarray, np.ndarray]:
    """`MeasuredRow.confusion` and `MeasuredRow.bands` of trimaps that were kept as PNG."""
    confusion = np.zeros((3, 3), np.int64)
    bands = np.zeros((len(BAND_WIDTHS), 3, 3), np.int64)
    classes = np.zeros(256, np.uint8)
    classes[TRIMAP_GRAYS] = np.arange(len(TRIMAP_GRAYS))
    for truth in truths:
        predicted = classes[read_matte(trimaps / f"{truth.name}.png")]
        true = classes_of_matte(truth.read_truth())
        confusion += confusion_matrix(true, predicted)
        bands += band_confusions(true, predicted)
    return confusion, bands


def seconds_of(mattes: RowMattes, folder: Path, truths: Sequence[PhotoTruth]) -> Seconds:
    """Mean time of a photo in one process, with nothing kept; itself it is kept."""
    path = folder / "seconds.json"
    if not path.is_file():
        taken = []
        for truth in (truths[0], *truths[:TIMED]):  # the first time loads the net
            with TemporaryDirectory() as cache:
                timed = replace(mattes, cache=Path(cache), out=None)
                taken.append(astuple(timed.seconds(truth, truth.read_photo())))
        write_report(path, asdict(Seconds(*np.mean(taken[1:], axis=0).tolist())))
    return Seconds(**json.loads(path.read_text()))


def open_folder(folder: Path, mattes: RowMattes, choice: Mapping[str, Any]) -> None:
    """Begin or go on with the folder of a row's mattes; that of another choice is moved aside."""
    note = folder / CHOICE
    noted = json.loads(note.read_text())["key"] if note.is_file() else None
    if noted == mattes.key:
        return
    if folder.exists():
        logger.warning("%s is of another choice; it is kept in %s.", folder, move_aside(folder))
    write_report(note, {"key": mattes.key, "choice": choice})


def measure_row(
    family: Family, row: Row, truths: Sequence[PhotoTruth], choices: Path, out: Path, workers: int
) -> MeasuredRow:
    """Measure a row; images that were measured with the same choice are not again.

    Raises
    ------
    InputError
        If there is no choice for it, or a photo cannot be read.
    """
    folder = out / "rows" / row.name
    mattes, choice = chosen_mattes(row, family, choices, out / "scores", folder)
    open_folder(folder, mattes, choice)
    # The journal is never ended: it is what is kept of the row.
    measurement = Measurement(Task(mattes, MATTES), truths, Journal(folder))
    photos = []
    progress = tqdm(total=len(truths), desc=row.name, unit="image")
    with closing(measurement.results(workers)) as results, progress:
        for errors, _ in results:
            photos.append(errors)
            progress.update()
    iterations = None
    if row.run is not None:
        training = Training(run_named(row.run), family, 0)
        iterations = warm_iterations_of(training), max(choice["weights"]["iterations"])
    confusion, bands = confusions_of(truths, folder / "trimaps")
    seconds = seconds_of(mattes, folder, truths)
    return MeasuredRow(row, choice, iterations, photos, confusion, bands, seconds)


def measure_rows(
    family: Family,
    rows: Sequence[Row],
    truths: Sequence[PhotoTruth],
    choices: Path,
    out: Path,
    workers: int,
) -> list[MeasuredRow]:
    """`measure_row` for several; that all have a choice is looked at first."""
    for row in rows:
        chosen_mattes(row, family, choices, out / "scores")
    return [measure_row(family, row, truths, choices, out, workers) for row in rows]
