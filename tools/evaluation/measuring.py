"""The loop of `tools/test_net.py`: mattes of photos, compared with the true ones.

Every matte is measured twice, in all pixels that count and in the unknown region of the
true trimap.  What was measured is kept in a journal: a run that was killed goes on.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.parallel import map_in_order
from data_prep.datasets.resume import Journal
from tools.evaluation.contact_sheet import SheetRow, sheet_row
from tools.evaluation.masks import MaskErrors
from tools.evaluation.matte_sources import MatteSource
from tools.evaluation.metrics import ErrorMaps, unknown_region
from tools.evaluation.truths import MASKS, MATTES, PhotoTruth
from tools.matting.guidance import Guidance, check_shape
from tools.matting.photo_view import resized
from tools.matting.session import Matte

ALL, UNKNOWN_REGION = REGIONS = ("all", "unknown")  # pixels that count
REFERENCE_ALPHA = 0.5
#: SAD is also given for a picture of this many pixels, so that sizes can be compared.
STANDARD_AREA = 600 * 800

#: By what is measured: names of the measures, and headings and units of the printed values.
#: Files hold values without units; a SAD is there in thousands (`metrics`).
PRINTED = {
    MATTES: {
        "dapm_gradient": ("grad e-3", 1e-3),
        "dapm_connectivity": ("conn e-4", 1e-4),
        "rhemann_gradient": ("Grad", 1.0),
        "rhemann_connectivity": ("Conn", 1.0),
        "sad": ("SAD e3", 1.0),
        "mse": ("MSE e-3", 1e-3),
        "sad_600x800": ("SAD 600x800 e3", 1.0),
    },
    MASKS: {"iou": ("IoU", 1.0), "boundary_iou": ("boundary IoU", 1.0)},
}

#: Measures by name, by region; a region without pixels is left out.
Values = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PhotoErrors:
    """The measures of one matte.

    Attributes
    ----------
    name : str
    person : hashable
        Who is on the photo; its name where nobody says so.
    face_found : bool
    values, reference : Values
        Of the matte, and of one that is `REFERENCE_ALPHA` everywhere (empty for masks).
    """

    name: str
    person: Hashable
    face_found: bool
    values: Values
    reference: Values

    @property
    def badness(self) -> float:
        """By which photos are ranked, best first."""
        found = self.values[ALL]
        return found["sad_600x800"] if "sad_600x800" in found else -found["iou"]


@dataclass(frozen=True)
class Task:
    """How photos are measured; can be pickled.

    Attributes
    ----------
    source : MatteSource
    kind : {"mattes", "masks"}
    region : {"all", "unknown"}
        What contact sheets show the errors of; each photo has to have such pixels.
    """

    source: MatteSource
    kind: str
    region: str = ALL

    def measure(self, truth: PhotoTruth) -> tuple[PhotoErrors, SheetRow]:
        """The measures of one matte, and its row of the contact sheet.

        Raises
        ------
        InputError
            If a photo cannot be read or matted, a soft truth has another size than its photo,
            a hard one another shape, a face shows that a portrait's truth is inverted, or
            nothing is in `region`.
        """
        photo, true_alpha = truth.read_photo(), truth.read_truth()
        check_sizes(truth, self.kind, photo, true_alpha)
        regions = self._regions(truth, true_alpha)
        matte = self.source.matte(truth, photo)
        truth.check(true_alpha, matte.faces)
        alpha = matte.alpha
        if alpha.shape != true_alpha.shape:
            alpha = resized(alpha, true_alpha.shape)
        values = values_of(self.kind, alpha, true_alpha, regions)
        reference: Values = {}
        if self.kind == MATTES:
            constant = np.full_like(true_alpha, REFERENCE_ALPHA)
            reference = values_of(self.kind, constant, true_alpha, regions)
        errors = PhotoErrors(truth.name, truth.who, bool(matte.faces), values, reference)
        return errors, self._row(errors, matte, alpha, true_alpha, regions[self.region])

    def _regions(self, truth: PhotoTruth, true_alpha: np.ndarray) -> dict[str, np.ndarray | None]:
        """Pixels that count, by region: (H, W) bool, or None for all of them."""
        counted = truth.read_region(true_alpha)
        regions: dict[str, np.ndarray | None] = {ALL: counted}
        if self.kind == MASKS and self.region == ALL:
            return regions  # what is fractional in hard masks is noise
        unknown = unknown_region(true_alpha)
        if counted is not None:
            unknown &= counted
        if unknown.any():
            regions[UNKNOWN_REGION] = unknown
        elif self.region == UNKNOWN_REGION:
            raise InputError(
                f"{truth.pair.matte} has no fractional pixel, so no unknown region; "
                "use --region all."
            )
        return regions

    def _row(
        self,
        errors: PhotoErrors,
        matte: Matte,
        alpha: np.ndarray,
        true_alpha: np.ndarray,
        region: np.ndarray | None,
    ) -> SheetRow:
        values = errors.values[self.region]
        shown = (
            f"{heading} {values[measure] / unit:.3g}"
            for measure, (heading, unit) in PRINTED[self.kind].items()
        )
        # Where nothing counts, the sheet shows the matte for the truth, and no error.
        visible = true_alpha if region is None else np.where(region, true_alpha, alpha)
        photo = resized(matte.photo, true_alpha.shape)
        caption = "   ".join([errors.name, *shown])
        return sheet_row(caption, errors.badness, photo, matte.probabilities, alpha, visible)


def check_sizes(truth: PhotoTruth, kind: str, photo: np.ndarray, true_alpha: np.ndarray) -> None:
    """Refuse a soft truth (H, W) of another size than its photo, a hard one of another shape.

    Raises
    ------
    InputError
    """
    if true_alpha.shape == photo.shape[:2]:
        return
    if kind == MATTES:
        raise InputError(
            f"{truth.pair.matte} has another size than {truth.pair.photo}; scale one of them."
        )
    check_shape(Guidance(true_alpha), truth.pair.matte, photo.shape, truth.pair.photo)


def values_of(
    kind: str, alpha: np.ndarray, truth: np.ndarray, regions: Mapping[str, np.ndarray | None]
) -> dict[str, dict[str, float]]:
    """The measures of a matte, (H, W) in [0, 1], by region and by the names in `PRINTED`."""
    if kind == MASKS:
        return {
            name: asdict(MaskErrors.of(alpha, truth, region)) for name, region in regions.items()
        }
    maps = ErrorMaps.of(alpha, truth)
    scale = STANDARD_AREA / truth.size
    found = {name: asdict(maps.errors(region)) for name, region in regions.items()}
    return {name: {**each, "sad_600x800": scale * each["sad"]} for name, each in found.items()}


class Measurement:
    """Photos that are measured one by one, past those that an earlier run has measured.

    Parameters
    ----------
    task : Task
    truths : sequence of PhotoTruth
    journal : Journal
        Where measures are kept until `end`.

    Raises
    ------
    OSError
        If a file of a photo, or of what makes the mattes, cannot be read.
    """

    def __init__(self, task: Task, truths: Sequence[PhotoTruth], journal: Journal) -> None:
        self._task, self._truths, self._journal = task, truths, journal
        # With the region, because each photo has to have such pixels.
        shared = content_key(task.source.key, task.kind, task.region)
        self._keys = [self._key(shared, each) for each in truths]
        wanted = set(self._keys)
        kept = [record for record in journal.read() if record["key"] in wanted]
        self._known = {record["key"]: PhotoErrors(**record["errors"]) for record in kept}

    def _key(self, shared: str, truth: PhotoTruth) -> str:
        """Digest of everything that the measures of a photo depend on."""
        files = [*truth.files, *self._task.source.files_for(truth)]
        digests = [sha256_of(path) for path in files]
        return content_key(shared, truth.name, truth.who, truth.pair.crop, digests)

    @property
    def known(self) -> int:
        """How many photos an earlier run has measured that did not end."""
        return sum(key in self._known for key in self._keys)

    def results(self, workers: int) -> Generator[tuple[PhotoErrors, SheetRow | None], None, None]:
        """The measures of all photos, in their order, as they come.

        Parameters
        ----------
        workers : int
            Processes; 1: everything in this one.

        Yields
        ------
        errors : PhotoErrors
        row : SheetRow or None
            None where the measures were known.

        Raises
        ------
        InputError
            As `Task.measure` and `data_prep.common.parallel.open_workers`.
        """
        self._journal.start(self._journal.read())
        todo = [truth for truth, key in zip(self._truths, self._keys) if key not in self._known]
        fresh = map_in_order(self._task.measure, todo, workers)
        for key in self._keys:
            if key in self._known:
                yield self._known[key], None
                continue
            errors, row = next(fresh)
            self._journal.append({"key": key, "errors": asdict(errors)})
            yield errors, row

    def end(self) -> None:
        """Forget what is kept, as all results are written; other runs' stay in the journal."""
        done = set(self._keys)
        others = [record for record in self._journal.read() if record["key"] not in done]
        if others:
            self._journal.start(others)
        else:
            self._journal.close()
