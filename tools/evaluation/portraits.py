"""Portraits of a dataset: those on a list, their true mattes, and who is on them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import Dataset, Portrait, load_portrait
from data_prep.datasets.lists import PortraitIndex, read_entries, repetitions
from data_prep.datasets.manifest import DatasetManifest
from tools.evaluation.metrics import MatteErrors, evaluate


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
    """

    portrait: Portrait
    photo: np.ndarray
    matte: np.ndarray

    @cached_property
    def alpha(self) -> np.ndarray:
        """The true matte in [0, 1], (H, W) float64."""
        return self.matte / 255.0

    def errors_of(self, alpha: np.ndarray) -> MatteErrors:
        """Errors of a matte (H, W) in [0, 1]."""
        return evaluate(alpha, self.alpha)


def ground_truths(portraits: Iterable[Portrait]) -> Iterator[GroundTruth]:
    """Read portraits one by one.

    Raises
    ------
    InputError
        If `load_portrait` refuses a portrait.
    """
    for portrait in portraits:
        yield GroundTruth(portrait, *load_portrait(portrait))


def people_of(folder: Path, portraits: Sequence[Portrait]) -> dict[str, Hashable]:
    """Who is on each photo, by stem.

    The dataset's manifest says so; photos that it does not mention count as photos of
    different people.
    """
    manifest = DatasetManifest.load(folder) or DatasetManifest()
    known = manifest.portraits
    return {each.stem: known.get(each.stem, {}).get("person", each.stem) for each in portraits}
