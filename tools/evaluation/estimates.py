"""Means of errors, their standard errors, and paired comparisons."""

from __future__ import annotations

import csv
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from data_prep.common.files import atomic_write
from tools.evaluation.metrics import MatteErrors

CONFIDENCE = 0.95  # of the intervals

#: Errors of the mattes of several portraits, by the portraits' stems.
Errors = dict[str, MatteErrors]


@dataclass(frozen=True)
class Estimate:
    """A mean over images and its uncertainty.

    Attributes
    ----------
    mean : float
    standard_error : float or None
        Over images; None for a single one.
    by_person : float or None
        Cluster-robust standard error, which takes into account that photos of one person
        are alike; None for a single person, or if it is not known who is on the images.
    """

    mean: float
    standard_error: float | None
    by_person: float | None


def estimate(
    values: Sequence[float] | np.ndarray, people: Sequence[Hashable] | None = None
) -> Estimate:
    """Mean and standard errors of one measure.

    Parameters
    ----------
    values : (N,) sequence or ndarray of float
    people : (N,) sequence, optional
        Who is on each image.

    Notes
    -----
    With r the residuals and G people, the second error is
    sqrt(G / (G - 1) sum_g (sum_{i in g} r_i)^2) / N.  If all people have the same number
    of photos, it is the standard error of the means of people.
    """
    samples = np.asarray(values, float)
    count = len(samples)
    mean = float(samples.mean())
    if count < 2:
        return Estimate(mean, None, None)
    error = float(samples.std(ddof=1) / np.sqrt(count))
    if people is None:
        return Estimate(mean, error, None)
    _, members = np.unique(np.asarray(people), return_inverse=True)
    sums = np.bincount(members, samples - mean)
    groups = len(sums)
    if groups < 2:
        return Estimate(mean, error, None)
    by_person = float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / count)
    return Estimate(mean, error, by_person)


def half_width(found: Estimate, people: int, level: float = CONFIDENCE) -> float | None:
    """Half the width of the confidence interval of a mean, over people.

    Parameters
    ----------
    found : Estimate
    people : int
        On the images.
    level : float
        In (0, 1).

    Returns
    -------
    float or None
        The mean plus and minus this, by Student's t with ``people - 1`` degrees of freedom;
        None for a single person, or if it is not known who is on the images.
    """
    if found.by_person is None:
        return None
    return float(stdtrit(people - 1, (1 + level) / 2)) * found.by_person


def measure_values(errors: Errors, measure: str, stems: Sequence[str]) -> np.ndarray:
    """One measure of the images with these stems, in their order."""
    return np.array([getattr(errors[stem], measure) for stem in stems])


def estimates(errors: Errors, people: Mapping[str, Hashable] | None = None) -> dict[str, Estimate]:
    """`Estimate` of every measure.

    Parameters
    ----------
    errors : Errors
        At least one image.
    people : mapping, optional
        Who is on an image, by stem.
    """
    stems = sorted(errors)
    who = None if people is None else [people[stem] for stem in stems]
    return {
        measure: estimate(measure_values(errors, measure, stems), who)
        for measure in MatteErrors.names()
    }


@dataclass(frozen=True)
class Comparison:
    """The errors of one method minus those of another on the same images.

    Attributes
    ----------
    difference : Estimate
        Negative where the first method is better.
    better : float
        Share of the images on which the first method is better.
    """

    difference: Estimate
    better: float


def compare(first: Errors, second: Errors, people: Mapping[str, Hashable]) -> dict[str, Comparison]:
    """`Comparison` of every measure, on the images that both have."""
    stems = sorted(first.keys() & second.keys())
    who = [people[stem] for stem in stems]
    result = {}
    for measure in MatteErrors.names():
        gap = measure_values(first, measure, stems) - measure_values(second, measure, stems)
        result[measure] = Comparison(estimate(gap, who), float((gap < 0).mean()))
    return result


def as_dicts(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Estimates or comparisons by measure, in types that JSON holds."""
    return {measure: asdict(value) for measure, value in values.items()}


def write_errors(path: Path, errors: Mapping[str, Errors], people: Mapping[str, Hashable]) -> None:
    """Write every error of every image as CSV.

    Parameters
    ----------
    path : Path
    errors : mapping
        By the name of the method.
    people : mapping
        Who is on an image, by stem.
    """
    names = MatteErrors.names()
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "image", "person", *names])
        for row, by_stem in errors.items():
            for stem in sorted(by_stem):
                values = asdict(by_stem[stem])
                writer.writerow([row, stem, people[stem], *(values[name] for name in names)])
