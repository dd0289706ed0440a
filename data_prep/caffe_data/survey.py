"""What is measured of every portrait once, cached by the content of its files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from data_prep.caffe_data.alignment import center_of_gravity
from data_prep.caffe_data.alpha_distribution import count_alphas
from data_prep.common.assets import ASSETS
from data_prep.common.files import atomic_write, remove_leftovers
from data_prep.common.landmarks import detect_landmarks
from data_prep.common.parallel import OrderedMap
from data_prep.common.versions import recipe_of
from data_prep.datasets.dataset import FRAME, Portrait, Problem, read_portrait
from data_prep.datasets.matte_checks import matte_fault

#: Version of the numbers in a `Survey`: raise it when they change (`data_prep.common.versions`).
SURVEY_VERSION = 1


class Survey(NamedTuple):
    """One portrait in numbers.

    Attributes
    ----------
    landmarks : (68, 2) float64 ndarray or None
        None where no face is found.
    alpha_counts : (256,) int64 ndarray
        `count_alphas` of the matte.
    center : (2,) float64 ndarray
        `center_of_gravity` of the matte.
    """

    landmarks: np.ndarray | None
    alpha_counts: np.ndarray
    center: np.ndarray


def survey_portrait(portrait: Portrait) -> Survey | list[Problem]:
    """Read a photo and a matte of `FRAME` once; what is wrong with them, if anything."""
    images, problems = read_portrait(portrait, FRAME)
    if problems:
        return problems
    photo, matte = images
    landmarks = detect_landmarks(photo)
    if fault := matte_fault(matte, landmarks):
        return [Problem(portrait.matte, f"it {fault}")]
    return Survey(landmarks, count_alphas(matte), center_of_gravity(matte))


class SurveyCache:
    """Surveys by the content of a portrait's files, in a text file.

    Parameters
    ----------
    path : Path
        First line: what the surveys depend on; those of another version or
        another landmark model do not count.  Then one survey (JSON) a line,
        written when it is made, so that a kill loses none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._surveys: dict[str, Survey] = {}
        origin = recipe_of("survey", SURVEY_VERSION, ASSETS["landmark-model"].sha256)
        lines = path.read_text().splitlines() if path.is_file() else []
        if lines[:1] != [origin]:
            lines = [origin]
        whole = [line for line in lines[1:] if self._take(line)]
        # Half a line that a kill left would spoil the next one.
        remove_leftovers(path)
        with atomic_write(path) as scratch:
            scratch.write_text("".join(f"{line}\n" for line in [origin, *whole]))

    def _take(self, line: str) -> bool:
        try:
            key, landmarks, counts, center = json.loads(line)
        except ValueError:
            return False
        points = None if landmarks is None else np.array(landmarks)
        self._surveys[key] = Survey(points, np.array(counts), np.array(center))
        return True

    def get(self, key: str) -> Survey | None:
        """The survey of files of this content, None where there is none yet."""
        return self._surveys.get(key)

    def add(self, key: str, survey: Survey) -> None:
        """Remember a survey; it is in the file when this returns."""
        points, counts, center = survey
        landmarks = None if points is None else points.tolist()
        line = json.dumps([key, landmarks, counts.tolist(), center.tolist()])
        with open(self._path, "a") as stream:
            stream.write(f"{line}\n")
        self._surveys[key] = survey


def survey_portraits(
    portraits: Sequence[Portrait],
    keys: Sequence[str],
    cache: SurveyCache,
    ordered_map: OrderedMap,
) -> tuple[list[Survey], list[Problem]]:
    """Survey all portraits, with a progress bar.

    Parameters
    ----------
    portraits : sequence of Portrait
    keys : sequence of str
        One a portrait, made from the content of its files.
    cache : SurveyCache
    ordered_map : OrderedMap
        `open_workers` gives it.

    Returns
    -------
    surveys : list of Survey
        In the order of the portraits; complete where there is no problem.
    problems : list of Problem
    """
    new = [(p, key) for p, key in zip(portraits, keys, strict=True) if cache.get(key) is None]
    found = ordered_map(survey_portrait, [portrait for portrait, _ in new])
    problems = []
    progress = tqdm(found, "survey", len(new), unit="portrait", leave=False)
    for (_, key), result in zip(new, progress, strict=True):
        if isinstance(result, Survey):
            cache.add(key, result)
        else:
            problems += result
    surveys = [cache.get(key) for key in keys]
    return [survey for survey in surveys if survey is not None], problems
