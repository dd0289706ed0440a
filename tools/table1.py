#!/usr/bin/env python3
"""Table 1 of the paper on our portraits: train, tune, measure, document.

    tools/table1.py train                     # the nets of all rows, in turn; hours
    tools/table1.py train --iterations 3000   # goes on from 1,500
    tools/table1.py tune                      # choices on validation people
    tools/table1.py measure --every 5         # a quick look; without it, the whole test split
    tools/table1.py docs                      # puts the tables into docs/benchmark.md
    tools/table1.py pictures                  # docs/table1_fig4.jpg and others, of kept mattes
    tools/table1.py weights                   # of ours, as chosen, for --model fcn8s

Every command goes on where it was stopped.  `train` runs `caffe train` in slices of 100
iterations: first the warm starts, then all rows in turn, so that a stop at any time leaves a
table of equally trained rows.  `tune` writes docs/table1_choices.json, without which nothing is
measured on test images.  `measure` writes docs/table1.json, and into out/table1 the mattes and
trimaps of every row, table1.csv, table1.tex and errors.csv (every image); tables of some rows or
photos alone go to out/table1/part.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse

from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.errors import run_program
from data_prep.common.options import count
from data_prep.common.parallel import open_workers
from data_prep.datasets.dataset import Dataset, check_portraits
from data_prep.datasets.rendered_contents import read_contents
from tools.evaluation.report import BENCHMARK, read_report, renew_section, shown, write_report
from tools.evaluation.truths import PhotoTruth, truths_of_portraits
from tools.matting.caffe_net import read_caffemodel, write_caffemodel
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import MODELS, ROOT
from tools.table.calibration import calibrated_weights
from tools.table.curves import draw_curves
from tools.table.figure_files import write_figures
from tools.table.measuring import MeasuredRow, measure_rows
from tools.table.report import JUDGED, markdown, table_report, write_tables
from tools.table.rows import ROWS, chosen_rows
from tools.table.runs import HALF, RUNS, chosen_runs
from tools.table.training import Training, train
from tools.table.tuning import (
    OUT,
    Tuner,
    choose_start,
    chosen_mattes,
    oracle_widths,
    rows_with_choice,
    trained_rows,
    tune,
    validation_truths,
)
from tools.training.stages import keep_files

ITERATIONS = 1500
WORKERS = 2
EVERY_VALIDATION = 4  # one photo a person
EVERY_START = 8  # the search for what a training begins with is a part of it
TEST_SET = ROOT / "data/benchmark"
CHOICES, RESULTS = ROOT / "docs/table1_choices.json", ROOT / "docs/table1.json"
CURVES = ROOT / "docs/table1_training.png"
SECTION, COMMAND = "table1", "make table1"


def run_train(options: argparse.Namespace) -> None:
    """Train, and choose what a training begins with when it is its turn."""

    def choose(training: Training) -> None:
        truths = validation_truths(HALF, EVERY_START)
        with open_workers(options.workers) as ordered_map:
            choose_start(training, Tuner(HALF, truths, ordered_map))

    runs = chosen_runs(options.runs)
    train(HALF, runs, options.iterations, options.warm_iterations, choose)


def run_tune(options: argparse.Namespace) -> None:
    """Choose on validation people."""
    truths = validation_truths(HALF, options.every)
    about = {"images": [truth.name for truth in truths]}
    with open_workers(options.workers) as ordered_map:
        tuner = Tuner(HALF, truths, ordered_map)
        tune(HALF, trained_rows(HALF, options.rows), tuner, CHOICES, about)
    print(f"wrote {shown(CHOICES)}; commit it before the test split is opened.")


def measured_rows(options: argparse.Namespace) -> tuple[list[PhotoTruth], list[MeasuredRow]]:
    """The test photos and the rows, measured unless that is done."""
    rows = rows_with_choice(options.rows, CHOICES)
    dataset = Dataset.open(TEST_SET, test_only=True)
    portraits = dataset.test[:: options.every]
    check_portraits(dataset.folder, portraits)
    truths = truths_of_portraits(dataset.folder, portraits)
    return truths, measure_rows(HALF, rows, truths, CHOICES, OUT, options.workers)


def run_measure(options: argparse.Namespace) -> None:
    """Measure the rows on the test split."""
    truths, measured = measured_rows(options)
    contents = read_contents(TEST_SET, [truth.name for truth in truths])
    report = table_report(measured, contents)
    if options.oracle:
        rows = [each.row for each in measured]
        some = truths[:: options.oracle]
        with open_workers(options.workers) as ordered_map:
            found = oracle_widths(
                HALF, rows, Tuner(HALF, some, ordered_map), CHOICES, OUT / "scores"
            )
        report["oracle"] = {"images": len(some), "rows": found}
    is_whole = options.rows is None and options.every == 1
    write_tables(OUT if is_whole else OUT / "part", report, measured)
    if is_whole:
        write_report(RESULTS, report)
        print(f"wrote {shown(RESULTS)}")
    print(markdown(report))


def run_docs(_: argparse.Namespace) -> None:
    """Put the tables into the document, and draw the curves where there are logs."""
    report = read_report(RESULTS, "tools/table1.py measure")
    if draw_curves(HALF, CURVES):
        print(f"wrote {shown(CURVES)}")
    picture = f"\n\n![Losses of all trainings]({CURVES.name})" if CURVES.is_file() else ""
    renew_section(BENCHMARK, SECTION, COMMAND, markdown(report) + picture)


def run_pictures(options: argparse.Namespace) -> None:
    """Draw figures like the paper's, of photos that a rule chooses."""
    truths, measured = measured_rows(options)
    errors = {each.row.name: each.errors() for each in measured}
    titles = {each.row.name: each.row.title for each in measured}
    mask = ShapeMask.load(HALF.shape_mask)
    rules = write_figures(OUT / "rows", truths, errors, titles, mask, CURVES.parent)
    for path, rule in rules.items():
        print(f"wrote {shown(path)}: {rule}")


def run_weights(_: argparse.Namespace) -> None:
    """Write the weights of ours, calibrated as was chosen, where `--model fcn8s` takes them."""
    (row,) = chosen_rows([JUDGED])
    mattes, _ = chosen_mattes(row, HALF, CHOICES, OUT / "scores")
    assert mattes.net is not None, "ours is the row of a net"
    model, settings = MODELS[HALF.model], mattes.settings
    trained = read_caffemodel(mattes.net.weights)
    calibrated = calibrated_weights(trained, settings.sharpness, settings.unknown_bias)
    write_caffemodel(model.weights, calibrated)
    keep_files({model.shape_mask: HALF.shape_mask})
    print(f"wrote {shown(model.weights)}")


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train the nets of all rows")
    training.add_argument(
        "--iterations",
        type=count,
        default=ITERATIONS,
        metavar="N",
        help=f"of the warm starts, and as many after them ({ITERATIONS}); warm starts from which "
        "other trainings have begun keep their length",
    )
    training.add_argument("--warm-iterations", type=count, metavar="N", help="of the warm starts")
    training.add_argument(
        "--runs",
        nargs="+",
        metavar="NAME",
        help=f"these alone, with what they start from: {', '.join(run.name for run in RUNS)}",
    )
    tuning = commands.add_parser("tune", help="choose snapshots and settings on validation people")
    measuring = commands.add_parser("measure", help="measure the rows on the test split")
    documents = commands.add_parser("docs", help=f"put the tables into {shown(BENCHMARK)}")
    drawing = commands.add_parser("pictures", help="draw the mattes of test photos side by side")
    for command, every in ((tuning, EVERY_VALIDATION), (measuring, 1), (drawing, 1)):
        command.add_argument(
            "--rows", nargs="+", metavar="NAME", help=", ".join(row.name for row in ROWS)
        )
        command.add_argument(
            "--every", type=count, default=every, metavar="N", help=f"every Nth photo ({every})"
        )
    measuring.add_argument(
        "--oracle",
        type=count,
        metavar="N",
        help="tell what other widths would give on every Nth of these photos, too",
    )
    writing = commands.add_parser("weights", help="write those of ours for --model fcn8s")
    for command in (training, tuning, measuring, drawing):
        command.add_argument(
            "--workers", type=count, default=WORKERS, metavar="N", help=f"processes ({WORKERS})"
        )
        add_gpu_option(command)
    for command, run in (
        (training, run_train),
        (tuning, run_tune),
        (measuring, run_measure),
        (documents, run_docs),
        (drawing, run_pictures),
        (writing, run_weights),
    ):
        command.set_defaults(run=run)
    options = parser.parse_args(argv)
    choose_gpu(getattr(options, "gpu", None))
    options.run(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main, notes=True))
