"""The evaluation loop: mattes of a dataset's portraits, compared with the true ones."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import Dataset, Portrait, load_portrait
from data_prep.datasets.lists import PortraitIndex, read_entries, repetitions
from data_prep.datasets.manifest import DatasetManifest
from data_prep.datasets.matte_checks import check_matte
from tools.evaluation.contact_sheet import SheetRow, sheet_row
from tools.evaluation.metrics import MatteErrors, evaluate, unknown_region
from tools.matting.session import Matte

REFERENCE_ALPHA = 0.5
#: By measure: heading and unit of the printed values.  Files hold values without units.
PRINTED = {
    "dapm_gradient": ("grad e-3", 1e-3),
    "dapm_connectivity": ("conn e-4", 1e-4),
    "rhemann_gradient": ("Grad", 1.0),
    "rhemann_connectivity": ("Conn", 1.0),
    "sad": ("SAD", 1.0),
    "mse": ("MSE e-3", 1e-3),
}


def find_list(dataset: Dataset, list_file: Path) -> Path:
    """Path of a list, which may also be given relative to the dataset's folder.

    Raises
    ------
    InputError
        If it is in neither place.
    """
    places = (list_file, dataset.folder / list_file)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise InputError(
            f"{list_file} does not exist, here or in {dataset.folder}; "
            "give a file with one image stem a line."
        )
    return found


def listed_portraits(dataset: Dataset, list_file: Path | None) -> list[Portrait]:
    """Portraits of a list; without one, those of the dataset's test list.

    Parameters
    ----------
    dataset : Dataset
    list_file : Path or None
        Names of portraits that are on a list of the dataset, in any form that
        `data_prep.datasets.lists` reads.

    Raises
    ------
    InputError
        If the list is missing or empty, names what is on no list of the dataset, or
        names a portrait twice, which would count twice in the mean.
    """
    if list_file is None:
        return dataset.test
    found = find_list(dataset, list_file)
    known = {each.stem: each for each in dataset.portraits + dataset.validation}
    places = (dataset.folder / "images", dataset.folder / "mattes")
    described = f"the name of a portrait on a list of {dataset.folder}"
    index = PortraitIndex(dataset.folder, places, known, described)
    entries, problems = read_entries(found, index)
    problems += repetitions({found: entries})
    if problems:
        raise InputError("\n".join(f"{each.file}: {each.reason}." for each in problems))
    return [known[stem] for _, stem in entries]


class PhotoMatting(Protocol):
    """A model as the evaluation calls it: `MattingSession.matte` is one."""

    def __call__(self, photo: np.ndarray) -> Matte:
        """Matte, trimap and faces of a photo.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.
        """


@dataclass(frozen=True)
class GroundTruth:
    """A portrait with its true matte.

    Attributes
    ----------
    portrait : Portrait
    photo : (H, W, 3) uint8 ndarray
        BGR.
    matte : (H, W) uint8 ndarray
        The true matte as it is stored.
    region : (H, W) boolean ndarray or None
        Pixels that count; None for all.
    """

    portrait: Portrait
    photo: np.ndarray
    matte: np.ndarray
    region: np.ndarray | None = None

    @cached_property
    def alpha(self) -> np.ndarray:
        """The true matte in [0, 1], (H, W) float64."""
        return self.matte / 255.0

    def errors_of(self, alpha: np.ndarray) -> MatteErrors:
        """Errors of a matte (H, W) in [0, 1] in the pixels that count."""
        return evaluate(alpha, self.alpha, self.region)


def ground_truths(
    portraits: Iterable[Portrait], unknown_only: bool = False
) -> Iterator[GroundTruth]:
    """Read portraits one by one: every evaluation in this project loops over these.

    Parameters
    ----------
    portraits : iterable of Portrait
    unknown_only : bool
        Count the unknown region of the true trimap only.

    Raises
    ------
    InputError
        If `load_portrait` refuses a portrait, or one has no unknown region where only
        that counts.
    """
    for portrait in portraits:
        photo, matte = load_portrait(portrait)
        if not unknown_only:
            yield GroundTruth(portrait, photo, matte)
            continue
        region = unknown_region(matte / 255.0)
        if not region.any():
            raise InputError(
                f"{portrait.matte} has no fractional pixel, so no unknown region; "
                "test with --region all."
            )
        yield GroundTruth(portrait, photo, matte, region)


@dataclass(frozen=True)
class PortraitResult:
    """What a model makes of one portrait.

    Attributes
    ----------
    stem : str
    errors, reference : MatteErrors
        Errors of the model's matte, and those of the all-0.5 matte.
    face_found : bool
    row : SheetRow
        Row of the contact sheet.
    """

    stem: str
    errors: MatteErrors
    reference: MatteErrors
    face_found: bool
    row: SheetRow


def evaluate_portraits(
    matte_of: PhotoMatting, portraits: Iterable[Portrait], unknown_only: bool = False
) -> Iterator[PortraitResult]:
    """Predict the mattes of portraits and compare them with the true ones, one by one.

    Parameters
    ----------
    matte_of : PhotoMatting
    portraits : iterable of Portrait
    unknown_only : bool
        Count the unknown region of the true trimap only.

    Raises
    ------
    InputError
        As `ground_truths`, and if a face shows that a true matte is inverted.
    """
    for truth in ground_truths(portraits, unknown_only):
        matte = matte_of(truth.photo)
        if matte.faces:
            check_matte(truth.matte, truth.portrait.matte, matte.faces[0])
        yield _result_of(truth, matte)


def _result_of(truth: GroundTruth, matte: Matte) -> PortraitResult:
    """Errors and contact-sheet row of one matte."""
    stem, errors = truth.portrait.stem, truth.errors_of(matte.alpha)
    caption = f"{stem}   " + "   ".join(
        f"{heading} {getattr(errors, name) / unit:.2f}" for name, (heading, unit) in PRINTED.items()
    )
    return PortraitResult(
        stem=stem,
        errors=errors,
        reference=truth.errors_of(np.full_like(truth.alpha, REFERENCE_ALPHA)),
        face_found=bool(matte.faces),
        row=sheet_row(
            caption, errors.sad, truth.photo, matte.probabilities, matte.alpha, truth.alpha
        ),
    )


def people_of(folder: Path, portraits: Sequence[Portrait]) -> dict[str, Hashable]:
    """Who is on each photo, by stem.

    The dataset's manifest says so; photos that it does not mention count as photos of
    different people.
    """
    manifest = DatasetManifest.load(folder) or DatasetManifest()
    known = manifest.portraits
    return {each.stem: known.get(each.stem, {}).get("person", each.stem) for each in portraits}
