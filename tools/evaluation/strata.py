"""Errors by stratum: how they depend on what a rendered portrait shows.

What the studio chose is in `data_prep.datasets.rendered_contents`.  A stratum is judged
by how far its mattes are from the bound, the mattes of the true trimap: no better trimap
can remove the rest of the error.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from tools.evaluation.estimates import Errors, compare, estimates

#: Measures that are reported for each stratum.
MEASURES = ("dapm_gradient", "sad")


class Condition(Protocol):
    """Decides whether a portrait is in a stratum."""

    def __call__(self, choice: Mapping) -> bool:
        """Whether the portrait is in the stratum.

        Parameters
        ----------
        choice : mapping
            Of the studio, for the portrait.
        """


@dataclass(frozen=True)
class Stratum:
    """A group of portraits that show the same thing.

    Attributes
    ----------
    title : str
        What tables call it.
    holds : Condition
    """

    title: str
    holds: Condition


#: The first stratum whose condition holds is a portrait's.
STRATA = (
    Stratum("a hand at head, hair or collar", lambda choice: choice["hand"] is not None),
    Stratum("otherwise bystanders", lambda choice: choice["background"]["bystanders"] > 0),
    Stratum("otherwise a hat", lambda choice: choice["accessories"]["hat"] is not None),
    Stratum(
        "otherwise a background of the hair's color",
        lambda choice: choice["background"]["resembles_hair"],
    ),
)
OTHERS = "none of these"


def stems_by_stratum(choices: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """Stems by the strata's titles, `OTHERS` last; empty strata are omitted."""
    titles = (*(each.title for each in STRATA), OTHERS)
    found: dict[str, list[str]] = {title: [] for title in titles}
    for stem, choice in choices.items():
        title = next((each.title for each in STRATA if each.holds(choice)), OTHERS)
        found[title].append(stem)
    return {title: stems for title, stems in found.items() if stems}


def report_by_stratum(
    errors: Errors, bound: Errors, choices: Mapping[str, Mapping], people: Mapping[str, Hashable]
) -> list[dict]:
    """Errors of each stratum, and how much of them lies beyond the bound.

    Parameters
    ----------
    errors : Errors
        Those of the method in question.
    bound : Errors
        Those of the true trimap's mattes, on the same images.
    choices : mapping
        Of the studio, by stem (`data_prep.datasets.rendered_contents`).
    people : mapping
        Who is on an image, by stem.

    Returns
    -------
    list of dict
        For each stratum ``title``, ``images``, and by measure a mapping: ``mean``,
        ``beyond`` (`Estimate` of the error beyond the bound) and ``share`` (the stratum's
        part of the sum, over all images, of the errors beyond the bound).
    """
    whole = compare({stem: errors[stem] for stem in choices}, bound, people)
    rows = []
    for title, stems in stems_by_stratum(choices).items():
        some = {stem: errors[stem] for stem in stems}
        own, beyond = estimates(some, people), compare(some, bound, people)
        row: dict[str, object] = {"title": title, "images": len(stems)}
        for measure in MEASURES:
            gap, every_gap = beyond[measure].difference, whole[measure].difference
            row[measure] = {
                "mean": own[measure].mean,
                "beyond": asdict(gap),
                "share": len(stems) * gap.mean / (len(choices) * every_gap.mean),
            }
        rows.append(row)
    return rows
