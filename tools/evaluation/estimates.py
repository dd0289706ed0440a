"""Means of errors, their standard errors, and paired comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tools.evaluation.metrics import MatteErrors
from tools.evaluation.portraits import PRINTED

Scores = dict[str, MatteErrors]  # by stem


@dataclass(frozen=True)
class Estimate:
    """A mean over images and how sure it is.

    Attributes
    ----------
    mean : float
    standard_error : float or None
        Over images; None for a single one.
    by_person : float or None
        Standard error that knows that photos of one person are alike (cluster
        robust); None for a single person.
    """

    mean: float
    standard_error: float | None
    by_person: float | None


def estimate(values: Sequence[float], people: Sequence) -> Estimate:
    """Mean and standard errors.

    Parameters
    ----------
    values : (N,) sequence of float
    people : (N,) sequence
        Who is on each image.

    Notes
    -----
    With r the residuals and G people, the second error is
    sqrt(G / (G - 1) sum_g (sum_{i in g} r_i)^2) / N; with as many photos of
    everybody it is the standard error of the means of people.
    """
    values = np.asarray(values, float)
    count = len(values)
    mean = float(values.mean())
    if count < 2:
        return Estimate(mean, None, None)
    error = float(values.std(ddof=1) / np.sqrt(count))
    _, members = np.unique(np.asarray(people), return_inverse=True)
    sums = np.bincount(members, values - mean)
    groups = len(sums)
    if groups < 2:
        return Estimate(mean, error, None)
    by_person = float(np.sqrt(groups / (groups - 1) * (sums**2).sum()) / count)
    return Estimate(mean, error, by_person)


def measure_values(scores: Scores, measure: str, stems: Sequence[str]) -> np.ndarray:
    """One measure of some images."""
    return np.array([getattr(scores[stem], measure) for stem in stems])


def estimates(scores: Scores, people: Mapping[str, object]) -> dict[str, Estimate]:
    """`Estimate` of every measure; ``people`` says who is on an image."""
    stems = sorted(scores)
    who = [people[stem] for stem in stems]
    return {
        measure: estimate(measure_values(scores, measure, stems), who)
        for measure in MatteErrors.names()
    }


@dataclass(frozen=True)
class Comparison:
    """One contender minus another on the same images.

    Attributes
    ----------
    difference : Estimate
        Negative where the first is better.
    better : float
        Share of images on which the first is.
    """

    difference: Estimate
    better: float


def compare(first: Scores, second: Scores, people: Mapping[str, object]) -> dict[str, Comparison]:
    """By measure, on the images that both have."""
    stems = sorted(first.keys() & second.keys())
    who = [people[stem] for stem in stems]
    result = {}
    for measure in MatteErrors.names():
        gap = measure_values(first, measure, stems) - measure_values(second, measure, stems)
        result[measure] = Comparison(estimate(gap, who), float((gap < 0).mean()))
    return result


def mean_and_standard_error(
    errors: Sequence[MatteErrors],
) -> tuple[dict[str, float], dict[str, float | None]]:
    """Mean of each measure and its standard error (None for a single image)."""
    table = np.array([[getattr(each, name) for name in PRINTED] for each in errors])
    means = dict(zip(PRINTED, table.mean(axis=0).tolist()))
    if len(errors) < 2:
        return means, dict.fromkeys(PRINTED)
    deviations = table.std(axis=0, ddof=1) / np.sqrt(len(errors))
    return means, dict(zip(PRINTED, deviations.tolist()))
