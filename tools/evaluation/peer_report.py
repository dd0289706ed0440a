"""Our side of the comparison with free programs: GrabCut, our mattes, errors, table and sheet."""

from __future__ import annotations

import csv
import logging
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.common.digests import content_key
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from data_prep.common.images import write_image
from data_prep.common.pictures import eight_bits, read_alpha
from data_prep.datasets.resume import Journal
from tools.evaluation.compared_mattes import (
    MATTES,
    MatteFunction,
    Method,
    Written,
    matte_file,
    written_mattes,
)
from tools.evaluation.matte_sources import GivenMattes, ModelMattes
from tools.evaluation.measuring import ALL, PRINTED, Measurement, PhotoErrors, Task
from tools.evaluation.methods import GRABCUT_ROUNDS
from tools.evaluation.peers import PEERS
from tools.evaluation.report import markdown_table
from tools.evaluation.truths import MASKS, PhotoTruth
from tools.evaluation.truths import MATTES as SOFT
from tools.matting.face_detector import FaceDetector
from tools.matting.models import DEFAULT_MODEL, MATTES_VERSION
from tools.matting.orientation import turned
from tools.matting.photo_view import resized, work_shape
from tools.matting.session import MattingSession
from tools.outputs.effects import composite
from tools.outputs.sheets import GREEN, captioned, stacked

logger = logging.getLogger(__name__)

ERRORS = "errors.jsonl"  # in the folder of a method
TABLE, CSV, SHEET = "table.md", "errors.csv", "sheet.jpg"
#: Measures of the table; the CSV file has all.
SHOWN = {SOFT: ("sad_600x800", "mse", "dapm_gradient"), MASKS: ("iou", "boundary_iou")}
SHEET_ROWS = 12
TILE_HEIGHT = 240

# The rectangle that holds the person, in widths and heights of the face: to either side of its
# middle, and above the brows.  It ends at the lower edge of the photo.
BESIDE, ABOVE = 2.5, 1.2
# Where no face is found: what is left out at each side, as a share of it.
MARGIN = 0.05


# --- our side -----------------------------------------------------------------------


def person_rectangle(
    landmarks: np.ndarray | None, shape: tuple[int, int]
) -> tuple[int, int, int, int]:
    """Where GrabCut looks for the person: around and below the face.

    Parameters
    ----------
    landmarks : (68, 2) ndarray or None
        x and y in pixels; None: no face.
    shape : (H, W)

    Returns
    -------
    left, top, width, height : int
        In pixels; at least one is left at the left, upper and right edge, because GrabCut
        learns the background's colors from what is outside.
    """
    rows, columns = shape
    if landmarks is None:
        left, right = MARGIN * columns, (1 - MARGIN) * columns
        top, bottom = MARGIN * rows, (1 - MARGIN) * rows
    else:
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        width, height = high - low
        middle = (low[0] + high[0]) / 2
        left, right = middle - BESIDE * width, middle + BESIDE * width
        top, bottom = low[1] - ABOVE * height, rows
    x = int(np.clip(round(left), 1, columns - 2))
    y = int(np.clip(round(top), 1, rows - 2))
    return x, y, max(1, min(round(right), columns - 1) - x), max(1, min(round(bottom), rows) - y)


def grabcut_mask() -> MatteFunction:
    """GrabCut as OpenCV has it, from the rectangle around the largest face, at most 800 pixels."""
    detector = FaceDetector()

    def mask(photo: np.ndarray, _: np.ndarray | None) -> np.ndarray:
        small = resized(eight_bits(photo), work_shape(photo.shape))
        found = detector.find(small)
        upright = np.ascontiguousarray(turned(small, found.turns))
        landmarks = detector.landmarks(small, found)
        rectangle = person_rectangle(landmarks[0].points if landmarks else None, upright.shape[:2])
        labels = np.zeros(upright.shape[:2], np.uint8)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.setRNGSeed(0)
        cv2.grabCut(upright, labels, rectangle, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_RECT)
        person = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        return turned(np.float32(person), -found.turns)

    return mask


def our_matte() -> MatteFunction:
    """The default model."""
    session = MattingSession(DEFAULT_MODEL)
    return lambda photo, _: session.matte(photo).alpha


def our_solve() -> MatteFunction:
    """Our band and solve around a mask; the mask itself where it is refused."""
    session = MattingSession(None)

    def refined(photo: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
        assert mask is not None  # the method says whose it refines
        try:
            return session.matte(photo, mask=mask).alpha
        except InputError as error:
            logger.warning("A mask is kept as it is, because our solve refuses it: %s", error)
            return mask

    return refined


GRABCUT = Method("grabcut", "GrabCut (OpenCV) from the face", grabcut_mask)


def our_methods() -> list[Method]:
    """What runs in the product's own environment, in the order in which it can."""
    key = content_key(MATTES_VERSION)
    refined = [
        Method(f"{peer.name}_solve", f"{peer.title} + our solve", our_solve, key, peer.name)
        for peer in (*PEERS, GRABCUT)
    ]
    default = Method(
        DEFAULT_MODEL,
        f"ours, the default (`--model {DEFAULT_MODEL}`)",
        our_matte,
        ModelMattes(None, DEFAULT_MODEL).key,
    )
    return [GRABCUT, *refined, default]


# --- errors -------------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """A method, with the errors and times of its mattes, photo by photo.

    Attributes
    ----------
    method : Method
    errors : list of PhotoErrors
    written : dict of str to Written
        By the photo's name.
    seconds, core_seconds : float
        Medians over photos, with those of the method that it refines.
    """

    method: Method
    errors: list[PhotoErrors]
    written: Mapping[str, Written]
    seconds: float
    core_seconds: float

    def mean(self, measure: str) -> float:
        """Over the photos, in all pixels that count."""
        return statistics.fmean(each.values[ALL][measure] for each in self.errors)


def compared(
    methods: Sequence[Method], truths: Sequence[PhotoTruth], kind: str, out: Path
) -> Iterator[Compared]:
    """Measure mattes that `write_mattes` has written; what is measured is not measured again.

    Raises
    ------
    InputError
        If mattes are missing, or a photo or truth cannot be read.
    """
    names = [each.name for each in truths]
    written = {each.name: written_mattes(each, out) for each in methods}
    for method in methods:
        folder = out / MATTES / method.name
        source = GivenMattes.of(folder, truths)
        measurement = Measurement(Task(source, kind), truths, Journal(folder, ERRORS))
        with closing(measurement.results(1)) as results:
            errors = [found for found, _ in results]
        times = [written[method.name]]
        if method.refines is not None:
            times.append(written[method.refines])
        yield Compared(
            method,
            errors,
            written[method.name],
            sum(statistics.median(each[name].seconds for name in names) for each in times),
            sum(statistics.median(each[name].core_seconds for name in names) for each in times),
        )


def table(found: Sequence[Compared], kind: str) -> str:
    """Means of the measures and medians of the times, in Markdown."""
    measures = SHOWN[kind]
    headings = [PRINTED[kind][each][0] for each in measures]
    digits = 3 if kind == MASKS else 2
    rows = []
    for each in found:
        means = (each.mean(measure) / PRINTED[kind][measure][1] for measure in measures)
        cells = [f"{mean:.{digits}f}" for mean in means]
        rows.append([each.method.title, *cells, f"{each.seconds:.2f}", f"{each.core_seconds:.2f}"])
    return markdown_table(["", *headings, "seconds", "seconds of a core"], rows)


def write_csv(path: Path, found: Sequence[Compared], kind: str) -> None:
    """Write a line for each method and photo: all measures, and the times of this method alone."""
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["method", "image", *PRINTED[kind], "seconds", "core_seconds"])
        for each in found:
            for errors in each.errors:
                times = each.written[errors.name]
                values = (errors.values[ALL][measure] for measure in PRINTED[kind])
                row = [each.method.name, errors.name, *values, times.seconds, times.core_seconds]
                writer.writerow(row)


# --- the sheet ----------------------------------------------------------------------


def sheet(methods: Sequence[Method], truths: Sequence[PhotoTruth], out: Path) -> np.ndarray:
    """Photos below each other; beside each, the person over green by every method.

    Parameters
    ----------
    methods : sequence of Method
    truths : sequence of PhotoTruth
        Of many, `SHEET_ROWS` are taken at equal distances.
    out : Path
        As `write_mattes` has it.

    Returns
    -------
    (h, w, 3) uint8 ndarray
        BGR.
    """
    count = min(SHEET_ROWS, len(truths))
    rows = []
    for number in range(count):
        truth = truths[number * len(truths) // count]
        photo = eight_bits(truth.read_photo())
        shape = TILE_HEIGHT, max(1, round(TILE_HEIGHT * photo.shape[1] / len(photo)))
        tiles = [(truth.name, resized(photo, shape))]
        for method in methods:
            # The photo's own colors: what a mask leaves of the old background is seen.
            alpha = np.float32(read_alpha(matte_file(out, method.name, truth.name)))
            tile = composite(photo, alpha, np.uint8([[GREEN]]))
            tiles.append((method.name, resized(tile, shape)))
        rows.append(captioned(tiles, len(tiles)))
    return stacked(rows)


def write_results(
    found: Sequence[Compared], truths: Sequence[PhotoTruth], kind: str, out: Path
) -> None:
    """Write table.md, errors.csv and sheet.jpg."""
    with atomic_write(out / TABLE) as scratch:
        scratch.write_text(table(found, kind) + "\n", encoding="utf-8")
    write_csv(out / CSV, found, kind)
    write_image(out / SHEET, sheet([each.method for each in found], truths, out))
