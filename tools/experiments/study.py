"""The table of the study: every contender on the whole test split, at full size.

    python -m tools.experiments.study run [--dataset FOLDER] [--rows portrait bound]
    python -m tools.experiments.study worst     # draws the worst images of portrait-lite
    python -m tools.experiments.study docs      # puts the table into docs/training.md

Contenders whose weights are not there are left out.  Images that are measured
are kept in out/study/NAME.jsonl: a run that was killed goes on where it was.
Writes out/study/errors.csv (every image) and docs/study.json (the table).
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.datasets.dataset import Dataset
from prototxt.catalog import NETS
from tools.evaluation.contact_sheet import write_contact_sheet
from tools.evaluation.estimates import Scores, compare, estimates
from tools.evaluation.methods import Contender, bound_matte, net_contender, segmenter_contenders
from tools.evaluation.metrics import MatteErrors
from tools.evaluation.portraits import evaluate_portrait
from tools.evaluation.report import (
    COLUMNS,
    cell,
    describe_machine,
    read_report,
    renew_section,
    write_report,
)
from tools.evaluation.scores import people_of, scores_of
from tools.evaluation.strata import MEASURES, choices_of, report_by_kind
from tools.matting.models import ROOT
from tools.matting.predictor import Predictor

RESULTS, DOCS, OUT = Path("docs/study.json"), Path("docs/training.md"), Path("out/study")
FAILURES = Path("docs/failures.jpg")
SECTION, COMMAND = "study", "make study"
#: What is compared image by image: (first, second, what it tells).
PAIRS = (
    ("fcn8s_half", "fcn8s_half_warm", "FCN-8s at half size, end to end − warm start alone"),
    ("fcn8s_half", "fcn8s_half_nomask", "FCN-8s at half size, with − without shape mask"),
    ("portrait", "portrait_warm", "portrait-lite, end to end − warm start alone"),
    ("portrait", "portrait_nomask", "portrait-lite, with − without shape mask"),
    ("portrait", "selfie", "portrait-lite − segmenter with our band"),
)
#: Whose errors are told by kind, and what they are held against.
JUDGED, BOUND = "portrait", "bound"


def study_contenders() -> list[Contender]:
    """The rows of the study, the worst knowledge first."""
    models = ROOT / "data/models"
    return [
        *segmenter_contenders(),
        net_contender(
            "fcn8s_half_warm",
            "FCN-8s at half size, warm start alone",
            "fcn8s_half",
            models / "fcn8s_half_warm.caffemodel",
        ),
        net_contender(
            "fcn8s_half_nomask",
            "FCN-8s at half size, end to end, without shape mask",
            "fcn8s_half",
            models / "fcn8s_half_nomask.caffemodel",
            NETS["fcn8s_half_nomask"].trimap_deploy,
        ),
        net_contender("fcn8s_half", "FCN-8s at half size, end to end", "fcn8s_half"),
        net_contender(
            "portrait_nomask",
            "portrait-lite, end to end, without shape mask",
            "portrait",
            models / "portrait_nomask.caffemodel",
            NETS["portrait_nomask"].trimap_deploy,
        ),
        net_contender(
            "portrait_warm",
            "portrait-lite, warm start alone",
            "portrait",
            models / "portrait_warm.caffemodel",
        ),
        net_contender(JUDGED, "portrait-lite, end to end", "portrait"),
        Contender(BOUND, "true trimap, our solve (bound)", lambda: bound_matte),
    ]


def take_part(rows: Sequence[str] | None) -> list[Contender]:
    """Contenders of these names (default all) whose files are there; others are told.

    Raises
    ------
    InputError
        If a name is unknown, a named contender lacks a file, or none is left.
    """
    everyone = study_contenders()
    unknown = sorted(set(rows or ()) - {each.name for each in everyone})
    if unknown:
        names = ", ".join(each.name for each in everyone)
        raise InputError(f"There is no row {unknown[0]}; there are {names}.")
    present = []
    for each in everyone:
        if rows and each.name not in rows:
            continue
        if not each.missing:
            present.append(each)
        elif rows:
            raise InputError(f"Row {each.name} lacks {each.missing[0]}; train it first.")
        else:
            print(f"without {each.name}: {each.missing[0]} does not exist.")
    if not present:
        raise InputError("No row has its weights; run `make` first.")
    return present


def report_of(
    contenders: Sequence[Contender],
    scores: Mapping[str, Scores],
    people: Mapping[str, object],
    choices: Mapping[str, Mapping],
) -> dict:
    """What docs/study.json holds: means, standard errors, differences, errors by kind.

    Parameters
    ----------
    contenders : sequence of Contender
    scores : mapping
        Of every contender's name.
    people : mapping
        Who is on an image, by stem.
    choices : mapping
        What the studio chose for it (`tools.evaluation.strata`), if it is from there.
    """
    rows = {
        each.name: {
            "title": each.title,
            "files": {path.name: sha256_of(path) for path in each.files},
            "errors": {
                measure: asdict(value)
                for measure, value in estimates(scores[each.name], people).items()
            },
        }
        for each in contenders
    }
    pairs = [
        {
            "first": first,
            "second": second,
            "title": title,
            "errors": {
                measure: asdict(value)
                for measure, value in compare(scores[first], scores[second], people).items()
            },
        }
        for first, second, title in PAIRS
        if first in rows and second in rows
    ]
    kinds = []
    if choices and rows.keys() >= {JUDGED, BOUND}:
        kinds = report_by_kind(scores[JUDGED], scores[BOUND], choices, people)
    some = next(iter(scores.values()))
    return {
        "machine": describe_machine(),
        "images": len(some),
        "people": len({people[stem] for stem in some}),
        "rows": rows,
        "pairs": pairs,
        "kinds": kinds,
    }


def write_csv(path: Path, scores: Mapping[str, Scores], people: Mapping[str, object]) -> None:
    """Every error of every image."""
    names = MatteErrors.names()
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["row", "image", "person", *names])
        for row, by_stem in scores.items():
            for stem in sorted(by_stem):
                values = asdict(by_stem[stem])
                writer.writerow([row, stem, people[stem], *(values[name] for name in names)])


# --- telling ----------------------------------------------------------------------


def table(report: dict) -> str:
    """Markdown: the contenders, and their differences."""
    head = "| | " + " | ".join(column.heading for column in COLUMNS)
    rule = "|---" * (len(COLUMNS) + 1)
    lines = [
        f"Means over {report['images']} test images of {report['people']} people at full size "
        f"({report['machine']['date']}), ± the standard error over images, in brackets the "
        "one that knows that images of one person are alike:",
        "",
        head + " |",
        rule + "|",
    ]
    for row in report["rows"].values():
        cells = [cell(row["errors"][column.measure], column.unit) for column in COLUMNS]
        lines.append(f"| {row['title']} | " + " | ".join(cells) + " |")
    if report["pairs"]:
        lines += [
            "",
            "Differences image by image (negative: the first is better):",
            "",
            head + " | better gradient |",
            rule + "|---|",
        ]
    for pair in report["pairs"]:
        cells = [
            cell(pair["errors"][column.measure]["difference"], column.unit, "+")
            for column in COLUMNS
        ]
        share = pair["errors"]["dapm_gradient"]["better"]
        lines.append(f"| {pair['title']} | " + " | ".join(cells) + f" | {share:.0%} of images |")
    if report["kinds"]:
        lines += ["", *kinds_table(report)]
    return "\n".join(lines)


def kinds_table(report: dict) -> list[str]:
    """Lines of Markdown: what lies between a row and the bound, by what is on the image."""
    title = report["rows"][JUDGED]["title"]
    columns = [column for column in COLUMNS if column.measure in MEASURES]
    lines = [
        f"{title} by what is on the image, what of its errors is beyond the bound, and the "
        "share of all that is:",
        "",
        "| | images | " + " | ".join(f"{c.heading} | beyond | share" for c in columns) + " |",
        "|---" * (2 + 3 * len(columns)) + "|",
    ]
    for row in report["kinds"]:
        cells = [row["title"], str(row["images"])]
        for column in columns:
            errors = row[column.measure]
            cells += [
                f"{errors['mean'] / column.unit:.2f}",
                cell(errors["beyond"], column.unit, "+"),
                f"{errors['share']:.0%}",
            ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def run(dataset_folder: Path, rows: Sequence[str] | None, limit: int | None, out: Path) -> dict:
    """Measure all contenders and write the errors; the report."""
    portraits = Dataset.open(dataset_folder).test[:limit]
    people = people_of(dataset_folder, portraits)
    contenders = take_part(rows)
    scores = {each.name: scores_of(each, portraits, out) for each in contenders}
    write_csv(out / "errors.csv", scores, people)
    choices = choices_of(dataset_folder, portraits)
    return {"dataset": str(dataset_folder), **report_of(contenders, scores, people, choices)}


# --- failures ---------------------------------------------------------------------


def worst_of(scores: Scores, people: Mapping[str, object], count: int) -> list[str]:
    """Stems of the worst images by gradient error x SAD, one a person, the worst first."""
    ranked = sorted(scores, key=lambda stem: -scores[stem].dapm_gradient * scores[stem].sad)
    worst: dict[object, str] = {}
    for stem in ranked:
        worst.setdefault(people[stem], stem)
    return list(worst.values())[:count]


def draw_worst(dataset_folder: Path, model: str, count: int, out: Path, picture: Path) -> None:
    """Draw the worst images of a model's row; those not measured yet are measured first."""
    portraits = Dataset.open(dataset_folder).test
    (contender,) = take_part([model])
    scores = scores_of(contender, portraits, out)
    stems = worst_of(scores, people_of(dataset_folder, portraits), count)
    known = {portrait.stem: portrait for portrait in portraits}
    predictor = Predictor(model)
    rows = [evaluate_portrait(predictor, known[stem], unknown_only=False).row for stem in stems]
    write_contact_sheet(picture, rows, f"{model}: the worst of {len(portraits)}, one a person")


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure and print the table")
    measure.add_argument("--rows", nargs="+", metavar="NAME", help="contenders (all)")
    measure.add_argument("--limit", type=int, metavar="N", help="the first N images only")
    measure.add_argument("--results", type=Path, default=RESULTS, help=f"the table ({RESULTS})")
    worst = commands.add_parser("worst", help=f"draw the worst images into {FAILURES}")
    worst.add_argument("--model", choices=("selfie", "portrait"), default="portrait")
    worst.add_argument("--count", type=int, default=5)
    worst.add_argument("--picture", type=Path, default=FAILURES)
    for each in (measure, worst):
        each.add_argument("--dataset", type=Path, default=Path("data/portrait_set"))
        each.add_argument("--out", type=Path, default=OUT, help=f"images' errors ({OUT})")
    commands.add_parser("docs", help=f"put the table into {DOCS}")
    options = parser.parse_args(argv)
    if options.command == "run":
        report = run(options.dataset, options.rows, options.limit, options.out)
        write_report(options.results, report)
        print(table(report))
        return 0
    if options.command == "worst":
        draw_worst(options.dataset, options.model, options.count, options.out, options.picture)
        print(f"wrote {options.picture}")
        return 0
    renew_section(DOCS, SECTION, COMMAND, table(read_report(RESULTS, COMMAND)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
