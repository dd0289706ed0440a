"""What `tools/test_net.py` prints and writes: lines, CSV, JSON, LaTeX and a contact sheet.

Means are over images; their intervals are over people, of whom there may be several images.
"""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.common.files import atomic_write, move_aside
from tools.evaluation.contact_sheet import SHEET
from tools.evaluation.estimates import CONFIDENCE, estimate, half_width
from tools.evaluation.measuring import ALL, PRINTED, REFERENCE_ALPHA, REGIONS, PhotoErrors
from tools.evaluation.truths import MASKS, MATTES

logger = logging.getLogger(__name__)

#: Files of a report, and of the sheet that belongs to it.
RESULTS = ("errors.csv", "errors.json", "errors.tex", SHEET)
LABEL_WIDTH = 24
REGION_TITLES = {"all": "all pixels", "unknown": "unknown region"}
#: Headings of the LaTeX table, by measure.
LATEX = {
    "dapm_gradient": r"gradient $\times10^{-3}$",
    "dapm_connectivity": r"connectivity $\times10^{-4}$",
    "rhemann_gradient": "Grad",
    "rhemann_connectivity": "Conn",
    "sad": r"SAD $\times10^{3}$",
    "mse": r"MSE $\times10^{-3}$",
    "sad_600x800": r"SAD $\times10^{3}$, $600\times800$",
    "iou": "IoU",
    "boundary_iou": "boundary IoU",
}


@dataclass(frozen=True)
class Summary:
    """Means over the images that have pixels in a region.

    Attributes
    ----------
    images, people : int
    mean : dict of str to float
        By measure.
    standard_error, half_width : dict of str to (float or None)
        Over images, and of the confidence interval over people; None for a single one.
    reference : dict of str to float
        Means of the mattes that are `REFERENCE_ALPHA` everywhere; empty for masks.
    """

    images: int
    people: int
    mean: dict[str, float]
    standard_error: dict[str, float | None]
    half_width: dict[str, float | None]
    reference: dict[str, float]

    @classmethod
    def of(cls, errors: Sequence[PhotoErrors], region: str) -> Summary | None:
        """The means of a region; None if no image has such pixels."""
        inside = [each for each in errors if region in each.values]
        if not inside:
            return None
        # As text, because numbers and names of people may occur together.
        who = [repr(each.person) for each in inside]
        people = len(set(who))
        found = {
            measure: estimate([each.values[region][measure] for each in inside], who)
            for measure in inside[0].values[region]
        }
        return cls(
            images=len(inside),
            people=people,
            mean={measure: each.mean for measure, each in found.items()},
            standard_error={measure: each.standard_error for measure, each in found.items()},
            half_width={measure: half_width(each, people) for measure, each in found.items()},
            reference={
                measure: estimate([each.reference[region][measure] for each in inside]).mean
                for measure in inside[0].reference.get(region, ())
            },
        )

    def to_json(self) -> dict[str, Any]:
        """Entries of errors.json."""
        found: dict[str, Any] = {
            "images": self.images,
            "people": self.people,
            "mean": self.mean,
            "standard_error": self.standard_error,
            "confidence": CONFIDENCE,
            "half_width": self.half_width,
        }
        if self.reference:
            found["reference"] = {"alpha": REFERENCE_ALPHA, "mean": self.reference}
        return found


def summaries(errors: Sequence[PhotoErrors]) -> dict[str, Summary]:
    """`Summary` by region, without regions that no image has."""
    found = {region: Summary.of(errors, region) for region in REGIONS}
    return {region: each for region, each in found.items() if each is not None}


# --- lines ------------------------------------------------------------------------


def head_lines(kind: str) -> list[str]:
    """The conventions and the measures, over `line`."""
    headings = [heading for heading, _ in PRINTED[kind].values()]
    measures = f"{'image':<{LABEL_WIDTH}}" + " ".join(
        f"{each:>{_width(each)}}" for each in headings
    )
    if kind == MASKS:
        return [measures]
    return [f"{'':{LABEL_WIDTH}}{'dapm':>9} {'':9} {'rhemann':>9}", measures]


def line(label: str, kind: str, values: Mapping[str, float | None]) -> str:
    """One printed line, in the units of `PRINTED`; "-" for values that are None."""
    cells = []
    for name, (heading, unit) in PRINTED[kind].items():
        value, width = values[name], _width(heading)
        cells.append(f"{'-':>{width}}" if value is None else _number(value / unit, kind, width))
    return f"{label:<{LABEL_WIDTH}.{LABEL_WIDTH}}" + " ".join(cells)


def summary_lines(errors: Sequence[PhotoErrors], kind: str) -> Iterator[str]:
    """Means, their errors and intervals and the reference, region by region."""
    for region, found in summaries(errors).items():
        yield f"{REGION_TITLES[region]}, {found.images} images of {found.people} people"
        yield line("  mean", kind, found.mean)
        yield line("  standard error", kind, found.standard_error)
        yield line(f"  +- ({CONFIDENCE:.0%}, over people)", kind, found.half_width)
        if found.reference:
            yield line(f"  all-{REFERENCE_ALPHA} matte", kind, found.reference)


def _width(heading: str) -> int:
    return max(9, len(heading))


def _number(value: float, kind: str, width: int = 0) -> str:
    # IoU lies in [0, 1], the others do not.
    return f"{value:{width}.{4 if kind == MASKS else 2}f}"


# --- files ------------------------------------------------------------------------


def write_csv(path: Path, errors: Sequence[PhotoErrors], kind: str) -> None:
    """Write a line for each image: its name, person, whether it shows a face, its measures.

    Those of the unknown region have names with ``unknown_`` before them, and are empty where
    an image has none.
    """
    names = list(PRINTED[kind])
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        columns = [_column(region, name) for region in REGIONS for name in names]
        writer.writerow(["image", "person", "face_found", *columns])
        for each in errors:
            cells = [
                each.values.get(region, {}).get(name, "") for region in REGIONS for name in names
            ]
            writer.writerow([each.name, each.person, int(each.face_found), *cells])


def _column(region: str, name: str) -> str:
    return name if region == ALL else f"{region}_{name}"


def report_of(errors: Sequence[PhotoErrors], about: Mapping[str, object]) -> dict[str, Any]:
    """Content of errors.json: that of all pixels at its top, and one entry for the others."""
    found = summaries(errors)
    report: dict[str, Any] = dict(about)
    for region in REGIONS:
        if region in found:
            values = {each.name: each.values[region] for each in errors if region in each.values}
            entries = {**found[region].to_json(), "errors": values}
            report |= entries if region == ALL else {region: entries}
    return report


def latex_table(errors: Sequence[PhotoErrors], kind: str, name: str) -> str:
    """The means and their intervals as a table that needs no package.

    Parameters
    ----------
    errors : sequence of PhotoErrors
        At least one.
    kind : {"mattes", "masks"}
    name : str
        What made the mattes.
    """
    measures = PRINTED[kind]
    found = summaries(errors)
    whole = found[ALL]
    rows = [["", *(LATEX[measure] for measure in measures)]]
    for region, each in found.items():
        title = f"{_escaped(name)}, {REGION_TITLES[region]}"
        rows.append([title, *(_cell(each, measure, kind) for measure in measures)])
        if each.reference:
            title = f"constant matte of {REFERENCE_ALPHA}, {REGION_TITLES[region]}"
            values = (
                _number(each.reference[measure] / unit, kind)
                for measure, (_, unit) in measures.items()
            )
            rows.append([title, *(f"${value}$" for value in values)])
    head, *body = (" & ".join(row) + r" \\" for row in rows)
    lines = [
        f"% Means over {whole.images} images of {whole.people} people, with the half width of",
        f"% their confidence intervals (level {CONFIDENCE}) over people.",
        r"\begin{tabular}{l" + "r" * len(measures) + "}",
        r"\hline",
    ]
    if kind == MATTES:
        lines.append(r" & \multicolumn{2}{c}{dapm} & \multicolumn{2}{c}{rhemann} & & & \\")
    return "\n".join([*lines, head, r"\hline", *body, r"\hline", r"\end{tabular}"]) + "\n"


def _cell(found: Summary, measure: str, kind: str) -> str:
    unit = PRINTED[kind][measure][1]
    mean, half = _number(found.mean[measure] / unit, kind), found.half_width[measure]
    return f"${mean}$" if half is None else rf"${mean} \pm {_number(half / unit, kind)}$"


def _escaped(text: str) -> str:
    """A name as LaTeX prints it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "_%&#${}" else c) for c in text)


def keep_other_report(folder: Path, about: Mapping[str, object]) -> None:
    """Move what another run left in a folder aside, before this one's results come.

    Parameters
    ----------
    folder, about
        As `write_error_report` takes them.  A report is another run's if any entry but the date
        differs.
    """
    path = folder / "errors.json"
    if not path.is_file():
        return
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        earlier = {}
    if all(earlier.get(name) == value for name, value in about.items() if name != "date"):
        return
    found = [folder / name for name in RESULTS if (folder / name).is_file()]
    aside = [move_aside(each).name for each in found]
    logger.warning(
        "%s held the errors of another run; they are kept there in %s.", folder, ", ".join(aside)
    )


def write_error_report(
    folder: Path,
    errors: Sequence[PhotoErrors],
    kind: str,
    name: str,
    about: Mapping[str, object],
) -> None:
    """Write errors.csv, errors.json and errors.tex.

    Parameters
    ----------
    folder : Path
        Made if missing.
    errors : sequence of PhotoErrors
        At least one.
    kind : {"mattes", "masks"}
    name : str
        What made the mattes.
    about : mapping
        Model, weights and dataset; the first entries of errors.json.
    """
    write_csv(folder / "errors.csv", errors, kind)
    for file, text in (
        ("errors.json", json.dumps(report_of(errors, about), indent=2, allow_nan=False) + "\n"),
        ("errors.tex", latex_table(errors, kind, name)),
    ):
        with atomic_write(folder / file) as scratch:
            scratch.write_text(text, encoding="utf-8")
