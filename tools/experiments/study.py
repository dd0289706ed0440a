"""The table of the study: every matting method on the whole test split, at full size.

    .venv/bin/python -m tools.experiments.study run [--dataset FOLDER] [--rows portrait bound ...]
    .venv/bin/python -m tools.experiments.study worst    # draws the worst images of portrait-lite
    .venv/bin/python -m tools.experiments.study docs     # puts the table into docs/training.md

Methods whose weights do not exist are left out.  Errors of each image are kept in
out/study/NAME.jsonl, so a run that was killed continues with the next image.
Writes out/study/errors.csv (every image) and docs/study.json (the table).
"""

from __future__ import annotations

import argparse
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError, run_program
from data_prep.common.options import count, named_path
from data_prep.datasets.dataset import Dataset
from data_prep.datasets.rendered_contents import read_contents
from prototxt.catalog import MADE_WEIGHTS, NETS
from tools.evaluation.contact_sheet import write_contact_sheet
from tools.evaluation.errors_cache import errors_of
from tools.evaluation.estimates import Errors, as_dicts, compare, estimates, write_errors
from tools.evaluation.matte_sources import ModelMattes
from tools.evaluation.measuring import Task
from tools.evaluation.methods import MattingMethod, bound_matte, net_method, segmenter_methods
from tools.evaluation.portraits import people_of
from tools.evaluation.report import (
    COLUMNS,
    describe_machine,
    estimate_cell,
    markdown_table,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.evaluation.strata import MEASURES, report_by_stratum
from tools.evaluation.truths import MATTES, truths_of_portraits
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import ROOT
from tools.training.selection import PORTRAIT_SET

RESULTS, DOCS, OUT = ROOT / "docs/study.json", ROOT / "docs/training.md", ROOT / "out/study"
FAILURES = ROOT / "docs/failures.jpg"
SECTION, COMMAND = "study", "make study"
#: Pairs of methods that are compared image by image: (first, second, title).
PAIRS = (
    ("fcn8s_half", "fcn8s_half_warm", "FCN-8s at half size, end to end − warm start alone"),
    ("fcn8s_half", "fcn8s_half_nomask", "FCN-8s at half size, with − without shape mask"),
    ("portrait", "portrait_warm", "portrait-lite, end to end − warm start alone"),
    ("portrait", "portrait_nomask", "portrait-lite, with − without shape mask"),
    ("portrait", "selfie", "portrait-lite − segmenter with our band"),
)
#: The method whose errors are broken down by stratum, and its reference.
JUDGED, BOUND = "portrait", "bound"


def study_methods() -> list[MattingMethod]:
    """The rows of the study, from least to most information."""
    return [
        *segmenter_methods(),
        net_method(
            "fcn8s_half_warm",
            "FCN-8s at half size, warm start alone",
            "fcn8s_half",
            MADE_WEIGHTS / "fcn8s_half_warm.caffemodel",
        ),
        net_method(
            "fcn8s_half_nomask",
            "FCN-8s at half size, end to end, without shape mask",
            "fcn8s_half",
            MADE_WEIGHTS / "fcn8s_half_nomask.caffemodel",
            NETS["fcn8s_half_nomask"].trimap_deploy,
        ),
        net_method("fcn8s_half", "FCN-8s at half size, end to end", "fcn8s_half"),
        net_method(
            "portrait_nomask",
            "portrait-lite, end to end, without shape mask",
            "portrait",
            MADE_WEIGHTS / "portrait_nomask.caffemodel",
            NETS["portrait_nomask"].trimap_deploy,
        ),
        net_method(
            "portrait_warm",
            "portrait-lite, warm start alone",
            "portrait",
            MADE_WEIGHTS / "portrait_warm.caffemodel",
        ),
        net_method(JUDGED, "portrait-lite, end to end", "portrait"),
        MattingMethod(BOUND, "true trimap, our solve (bound)", lambda: bound_matte),
    ]


def available_methods(rows: Sequence[str] | None) -> list[MattingMethod]:
    """Methods whose files exist; prints those it skips.

    Parameters
    ----------
    rows : sequence of str or None
        Names of the methods; None for all.

    Raises
    ------
    InputError
        If a name is unknown, a method that was named lacks a file, or none is left.
    """
    methods = study_methods()
    unknown = sorted(set(rows or ()) - {each.name for each in methods})
    if unknown:
        names = ", ".join(each.name for each in methods)
        raise InputError(f"There is no row {unknown[0]}; there are {names}.")
    present = []
    for each in methods:
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


def study_report(
    methods: Sequence[MattingMethod],
    errors: Mapping[str, Errors],
    people: Mapping[str, Hashable],
    choices: Mapping[str, Mapping],
) -> dict:
    """Content of docs/study.json: means, standard errors, differences, errors by stratum.

    Parameters
    ----------
    methods : sequence of MattingMethod
    errors : mapping
        By the name of the method.
    people : mapping
        Who is on an image, by stem.
    choices : mapping
        What the studio chose for the images that it rendered (`tools.evaluation.strata`).
    """
    rows = {
        each.name: {
            "title": each.title,
            "files": {path.name: sha256_of(path) for path in each.files},
            "errors": as_dicts(estimates(errors[each.name], people)),
        }
        for each in methods
    }
    pairs = [
        {
            "first": first,
            "second": second,
            "title": title,
            "errors": as_dicts(compare(errors[first], errors[second], people)),
        }
        for first, second, title in PAIRS
        if first in rows and second in rows
    ]
    strata = []
    if choices and rows.keys() >= {JUDGED, BOUND}:
        strata = report_by_stratum(errors[JUDGED], errors[BOUND], choices, people)
    some = next(iter(errors.values()))
    return {
        "machine": describe_machine(),
        "images": len(some),
        "people": len({people[stem] for stem in some}),
        "rows": rows,
        "pairs": pairs,
        "kinds": strata,  # the name in reports that were committed before
    }


# --- reporting --------------------------------------------------------------------


def study_section(report: dict) -> str:
    """Section of docs/training.md, in Markdown: means, differences, errors by stratum."""
    head = ["", *(column.heading for column in COLUMNS)]
    rows = [
        [row["title"], *(estimate_cell(row["errors"][c.measure], c.unit) for c in COLUMNS)]
        for row in report["rows"].values()
    ]
    parts = [
        f"Means over {report['images']} test images of {report['people']} people at full size "
        f"({report['machine']['date']}), ± the standard error over images, in brackets the "
        "one that knows that images of one person are alike:",
        markdown_table(head, rows),
    ]
    if report["pairs"]:
        parts += [
            "Differences image by image (negative: the first is better):",
            markdown_table([*head, "better gradient"], map(_pair_row, report["pairs"])),
        ]
    if report["kinds"]:
        parts += _strata_parts(report)
    return "\n\n".join(parts)


def _pair_row(pair: dict) -> list[str]:
    """Cells of a pair: its title, the differences, and how often the first is better."""
    differences = [
        estimate_cell(pair["errors"][column.measure]["difference"], column.unit, sign="+")
        for column in COLUMNS
    ]
    share = pair["errors"]["dapm_gradient"]["better"]
    return [pair["title"], *differences, f"{share:.0%} of images"]


def _strata_parts(report: dict) -> list[str]:
    """Heading and table of the errors by stratum."""
    title = report["rows"][JUDGED]["title"]
    columns = [column for column in COLUMNS if column.measure in MEASURES]
    head = ["", "images"]
    for column in columns:
        head += [column.heading, "beyond", "share"]
    rows = []
    for stratum in report["kinds"]:
        cells = [stratum["title"], str(stratum["images"])]
        for column in columns:
            errors = stratum[column.measure]
            cells += [
                f"{errors['mean'] / column.unit:.2f}",
                estimate_cell(errors["beyond"], column.unit, sign="+"),
                f"{errors['share']:.0%}",
            ]
        rows.append(cells)
    return [
        f"{title} by what is on the image, what of its errors is beyond the bound, and the "
        "share of all that is:",
        markdown_table(head, rows),
    ]


def run(dataset_folder: Path, rows: Sequence[str] | None, limit: int | None, out: Path) -> dict:
    """Measure the methods, write the errors of every image, and return the report."""
    portraits = Dataset.open(dataset_folder).test[:limit]
    people = people_of(dataset_folder, portraits)
    methods = available_methods(rows)
    errors = {each.name: errors_of(each, portraits, out) for each in methods}
    write_errors(out / "errors.csv", errors, people)
    choices = read_contents(dataset_folder, [portrait.stem for portrait in portraits])
    return {"dataset": str(shown(dataset_folder)), **study_report(methods, errors, people, choices)}


# --- failures ---------------------------------------------------------------------


def worst_of(errors: Errors, people: Mapping[str, Hashable], count: int) -> list[str]:
    """Stems of the worst images by gradient error x SAD, one a person, the worst first."""
    ranked = sorted(errors, key=lambda stem: -errors[stem].dapm_gradient * errors[stem].sad)
    worst: dict[object, str] = {}
    for stem in ranked:
        worst.setdefault(people[stem], stem)
    return list(worst.values())[:count]


def draw_worst(dataset_folder: Path, model: str, count: int, out: Path, picture: Path) -> None:
    """Draw the worst images of a model; measures the images that were not measured yet."""
    portraits = Dataset.open(dataset_folder).test
    (method,) = available_methods([model])
    errors = errors_of(method, portraits, out)
    stems = worst_of(errors, people_of(dataset_folder, portraits), count)
    known = {portrait.stem: portrait for portrait in portraits}
    truths = truths_of_portraits(dataset_folder, [known[stem] for stem in stems])
    task = Task(ModelMattes(None, model), MATTES)
    rows = [task.measure(truth)[1] for truth in truths]
    write_contact_sheet(picture, rows, f"{model}: the worst of {len(portraits)}, one a person")


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    measure = commands.add_parser("run", help="measure and print the table")
    measure.add_argument("--rows", nargs="+", metavar="NAME", help="matting methods (all)")
    measure.add_argument("--limit", type=count, metavar="N", help="the first N images only")
    measure.add_argument(
        "--results", type=named_path, default=RESULTS, help=f"the table ({shown(RESULTS)})"
    )
    worst = commands.add_parser("worst", help=f"draw the worst images into {shown(FAILURES)}")
    worst.add_argument("--model", choices=("selfie", "portrait"), default="portrait")
    worst.add_argument("--count", type=count, default=5)
    worst.add_argument("--picture", type=named_path, default=FAILURES)
    for each in (measure, worst):
        each.add_argument("--dataset", type=named_path, default=PORTRAIT_SET)
        each.add_argument(
            "--out", type=named_path, default=OUT, help=f"images' errors ({shown(OUT)})"
        )
        add_gpu_option(each)
    commands.add_parser("docs", help=f"put the table into {shown(DOCS)}")
    options = parser.parse_args(argv)
    if options.command != "docs":
        choose_gpu(options.gpu)
    if options.command == "run":
        report = run(options.dataset, options.rows, options.limit, options.out)
        write_report(options.results, report)
        print(study_section(report))
        return 0
    if options.command == "worst":
        draw_worst(options.dataset, options.model, options.count, options.out, options.picture)
        print(f"wrote {options.picture}")
        return 0
    renew_section(DOCS, SECTION, COMMAND, study_section(read_report(RESULTS, COMMAND)))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
