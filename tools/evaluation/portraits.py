"""Mattes of listed portraits against the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import Dataset, Portrait, load_portrait
from data_prep.datasets.lists import PortraitIndex, read_entries, repetitions
from data_prep.datasets.matte_checks import check_matte
from tools.evaluation.contact_sheet import SheetRow, sheet_row
from tools.evaluation.metrics import MatteErrors, evaluate, unknown_region
from tools.matting.predictor import Prediction

REFERENCE_ALPHA = 0.5
# Heading and unit of each measure in print; files hold the bare numbers.
PRINTED = {
    "dapm_gradient": ("grad e-3", 1e-3),
    "dapm_connectivity": ("conn e-4", 1e-4),
    "rhemann_gradient": ("Grad", 1.0),
    "rhemann_connectivity": ("Conn", 1.0),
    "sad": ("SAD", 1.0),
    "mse": ("MSE e-3", 1e-3),
}


@dataclass(frozen=True)
class Result:
    """One portrait of the test list.

    Attributes
    ----------
    stem : str
    errors, reference : MatteErrors
        Of the net's matte and of the all-0.5 matte.
    face_found : bool
    row : SheetRow
        For the contact sheet.
    """

    stem: str
    errors: MatteErrors
    reference: MatteErrors
    face_found: bool
    row: SheetRow


def find_list(dataset: Dataset, list_file: Path) -> Path:
    """A list, looked for in the dataset's folder where it is not found as it is named.

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
    """Portraits of a list; of the dataset's test list where none is given.

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


def evaluate_portrait(
    predict: Callable[[np.ndarray], Prediction], portrait: Portrait, unknown_only: bool
) -> Result:
    """Predict the matte of one portrait and measure it against the truth.

    Parameters
    ----------
    predict : callable
        BGR photo to Prediction.
    portrait : Portrait
    unknown_only : bool
        Count the unknown region of the true trimap only.

    Raises
    ------
    InputError
        If `load_portrait` refuses the portrait, its matte is inverted, or it has no
        unknown region where only that counts.
    """
    photo, matte = load_portrait(portrait)
    truth = matte / 255.0
    region = unknown_region(truth) if unknown_only else None
    if region is not None and not region.any():
        raise InputError(
            f"{portrait.matte} has no fractional pixel, so no unknown region; "
            "test with --region all."
        )
    prediction = predict(photo)
    if prediction.faces:
        check_matte(matte, portrait.matte, prediction.faces[0])
    errors = evaluate(prediction.alpha, truth, region)
    caption = f"{portrait.stem}   " + "   ".join(
        f"{heading} {getattr(errors, name) / unit:.2f}" for name, (heading, unit) in PRINTED.items()
    )
    return Result(
        stem=portrait.stem,
        errors=errors,
        reference=evaluate(np.full_like(truth, REFERENCE_ALPHA), truth, region),
        face_found=prediction.face_found,
        row=sheet_row(
            caption, errors.sad, photo, prediction.probabilities, prediction.alpha, truth
        ),
    )
