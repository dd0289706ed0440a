"""How errors depend on what is on a rendered portrait.

The studio writes down what it chose (`meta/STEM.json`).  What counts is how far a
matte is from the bound, the true trimap's: the rest no trimap can take away.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_prep.datasets.dataset import Portrait
from tools.evaluation.estimates import Scores, compare, estimates

#: What is told of a kind.
MEASURES = ("dapm_gradient", "sad")


@dataclass(frozen=True)
class Kind:
    """Portraits with something on them.

    Attributes
    ----------
    title : str
        In the table.
    holds : callable
        Whether a portrait is one, from the ``choice`` of its `meta` file.
    """

    title: str
    holds: Callable[[Mapping], bool]


#: A portrait is of the first one that holds.
KINDS = (
    Kind("a hand at head, hair or collar", lambda choice: choice["hand"] is not None),
    Kind("otherwise bystanders", lambda choice: choice["background"]["bystanders"] > 0),
    Kind("otherwise a hat", lambda choice: choice["accessories"]["hat"] is not None),
    Kind(
        "otherwise a background of the hair's color",
        lambda choice: choice["background"]["resembles_hair"],
    ),
)
OTHERS = "none of these"


def choices_of(folder: Path, portraits: Sequence[Portrait]) -> dict[str, dict]:
    """What the studio chose for each portrait, by stem; of those that it rendered."""
    # Read as files: the product runs where the studio, another environment, is not installed.
    files = {each.stem: folder / f"meta/{each.stem}.json" for each in portraits}
    return {
        stem: json.loads(file.read_text())["choice"]
        for stem, file in files.items()
        if file.is_file()
    }


def stems_by_kind(choices: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """Stems of each kind by its title, at last `OTHERS`; kinds that none is of are left out."""
    found: dict[str, list[str]] = {title: [] for title in (*(k.title for k in KINDS), OTHERS)}
    for stem, choice in choices.items():
        title = next((kind.title for kind in KINDS if kind.holds(choice)), OTHERS)
        found[title].append(stem)
    return {title: stems for title, stems in found.items() if stems}


def report_by_kind(
    scores: Scores, bound: Scores, choices: Mapping[str, Mapping], people: Mapping[str, object]
) -> list[dict]:
    """Errors of mattes kind by kind, and what of them is beyond the bound.

    Parameters
    ----------
    scores : Scores
        Of the mattes in question.
    bound : Scores
        Of the true trimap's, on the same images.
    choices : mapping
        `choices_of`.
    people : mapping
        Who is on an image, by stem.

    Returns
    -------
    list of dict
        Kind by kind its ``title``, ``images``, and by measure ``mean``, ``beyond`` (an
        `Estimate` of what lies beyond the bound) and ``share`` (of all that does).
    """
    whole = compare({stem: scores[stem] for stem in choices}, bound, people)
    rows = []
    for title, stems in stems_by_kind(choices).items():
        some = {stem: scores[stem] for stem in stems}
        own, beyond = estimates(some, people), compare(some, bound, people)
        row = {"title": title, "images": len(stems)}
        for measure in MEASURES:
            gap, every_gap = beyond[measure].difference, whole[measure].difference
            row[measure] = {
                "mean": own[measure].mean,
                "beyond": asdict(gap),
                "share": len(stems) * gap.mean / (len(choices) * every_gap.mean),
            }
        rows.append(row)
    return rows
