"""The paper's learning-rate study: loss change and test error for each rate.

    .venv/bin/python -m tools.experiments.learning_rates run [--rates 1e-3 1e-4] [--iterations 400]
    .venv/bin/python -m tools.experiments.learning_rates docs     # puts table and figure into docs/

"We tune the learning rates in range [1e-3, 1e-6].  For each learning rate, we
analyze the loss change and test the performance."  Each rate is a short `caffe
train` end to end from the warm-started weights, at a fixed rate, all else as in
the solver file.  The mattes are those of validation people.  Finished rates are
kept, and interrupted ones continue from their last snapshot (snapshots/variants/), though
from the first record: to compare such a rate, remove its folder, and it begins anew.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.options import count, named_path, positive
from tools.evaluation.estimates import Estimate, as_dicts
from tools.evaluation.report import (
    describe_machine,
    estimate_cell,
    markdown_table,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.matting.models import ROOT, model_of_net
from tools.training.caffe_log import read_logs
from tools.training.selection import (
    EVERY,
    PORTRAIT_SET,
    mean_errors_of_weights,
    selection_error,
    validation_portraits,
)
from tools.training.stages import BLOWN_UP, RECIPES, Stage, check_databases, run_stage, stages_of
from tools.training.variants import varied_stage

OUT, RESULTS = ROOT / "out/tune_lr", ROOT / "out/tune_lr/results.json"
DOCS, FIGURE = ROOT / "docs/training.md", ROOT / "docs/tune_lr.png"
SECTION, COMMAND = "tune-lr", "make tune-lr"
RATES = (1e-3, 1e-4, 1e-5, 1e-6)
TEST_IMAGES = 40  # for Caffe's test loss, which is only watched: a few suffice
ENDS = 0.2  # share of a run over which the loss is averaged, at either end


def rate_name(net: str, rate: float) -> str:
    """Name of a rate's folder and files."""
    return f"{net}_rate_{rate:.0e}"


def rate_stage(net: str, rate: float, iterations: int) -> Stage:
    """The end-to-end stage of a net at a fixed rate, from its warm start."""
    warm, last = stages_of(net)[0], stages_of(net)[-1]
    settings = {
        "base_lr": rate,
        "lr_policy": "fixed",
        "max_iter": iterations,
        "snapshot": max(1, iterations // 4),
        "test_interval": max(1, iterations // 2),
        "test_iter": [TEST_IMAGES],
        "test_initialization": True,
        "display": max(1, iterations // 50),
        "average_loss": max(1, iterations // 50),
    }
    return varied_stage(rate_name(net, rate), last.solver, warm.result, settings)


def run_rate(stage: Stage) -> bool:
    """Train at a rate unless that is done; return whether the training reached its end.

    Raises
    ------
    InputError
        If the training stopped for another reason than its rate.
    """
    if stage.finished:
        return True
    try:
        run_stage(stage, None)
    except InputError as error:
        if BLOWN_UP in str(error):
            return False
        raise
    return True


def loss_change(stage: Stage, finished: bool) -> dict:
    """Losses of a training, from its log.

    Parameters
    ----------
    stage : Stage
    finished : bool
        Whether the training reached its end.

    Returns
    -------
    dict
        ``curve``: (iteration, training loss) pairs.  ``train``: the means over the first
        and the last `ENDS` of the displayed losses.  ``test``: the last test loss; all
        rates are tested on the same images then, whereas the tests of one training use
        different images.  ``stable``: whether it finished with finite losses.
    """
    series = read_logs([stage.log])[-1].series
    curve = sorted(series["loss"].items())
    values = np.array([value for _, value in curve])
    width = max(1, round(ENDS * len(values)))
    test = [value for _, value in sorted(series.get("test/loss", {}).items())]
    return {
        "curve": curve,
        "train": (float(values[:width].mean()), float(values[-width:].mean())),
        "test": test[-1] if test else None,
        "stable": finished and bool(np.isfinite(values).all()),
    }


def measure_rate(
    net: str, rate: float, iterations: int, dataset: Path, every: int, out: Path = OUT
) -> dict:
    """Train one rate and measure its mattes."""
    stage = rate_stage(net, rate, iterations)
    result = {"rate": rate, **loss_change(stage, run_rate(stage)), "errors": None}
    if result["stable"]:
        errors = mean_errors_of_weights(
            rate_name(net, rate),
            model_of_net(net),
            stage.result,
            stage,
            dataset,
            validation_portraits(dataset, every),
            out,
        )
        result["errors"] = as_dicts(errors)
    return result


# --- reporting --------------------------------------------------------------------


def best_rate(results: Sequence[dict]) -> float | None:
    """The rate with the smallest `selection_error`; None if none was stable."""
    errors = {
        each["rate"]: {m: Estimate(**value) for m, value in each["errors"].items()}
        for each in results
        if each["errors"]
    }
    return min(errors, key=lambda rate: selection_error(errors[rate]), default=None)


def _loss(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if math.isfinite(value) else "not finite"


def _change(pair: Sequence[float]) -> str:
    first, last = pair
    if not math.isfinite(first + last):
        return "not finite"
    return f"{_loss(first)} → {_loss(last)} ({last / first - 1:+.0%})"


def _error_cell(rate: dict, measure: str, unit: float) -> str:
    if rate["errors"] is None:
        return "blew up"
    return estimate_cell(rate["errors"][measure], unit, digits=3, by_person=False)


def rates_table(report: dict) -> str:
    """Heading and table in Markdown, a row for each rate."""
    heading = (
        f"`{report['net']}`, {report['iterations']} iterations from its warm start; mattes of "
        f"{report['images']} validation images ({report['machine']['date']}):"
    )
    head = [
        "rate",
        "training loss",
        f"at the end, {TEST_IMAGES} test images",
        "gradient ×1e-3",
        "SAD ×1e3",
    ]
    best = best_rate(report["rates"])
    rows = [
        [
            f"{each['rate']:.0e}" + (" (best)" if each["rate"] == best else ""),
            _change(each["train"]),
            _loss(each["test"]),
            _error_cell(each, "dapm_gradient", 1e-3),
            _error_cell(each, "sad", 1.0),
        ]
        for each in report["rates"]
    ]
    return f"{heading}\n\n{markdown_table(head, rows)}"


def draw(path: Path, report: dict) -> None:
    """Training losses by rate, and the errors over the rates."""
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    losses, errors = figure.subplots(1, 2)
    for each in report["rates"]:
        losses.plot(*zip(*each["curve"]), label=f"{each['rate']:.0e}", linewidth=1)
    losses.set(xlabel="iteration", ylabel="training loss", yscale="log")
    losses.legend(fontsize=8)
    stable = [each for each in report["rates"] if each["errors"]]
    sad = errors.twinx()
    for axes, measure, unit, color in (
        (errors, "dapm_gradient", 1e-3, "C0"),
        (sad, "sad", 1.0, "C1"),
    ):
        values = [each["errors"][measure] for each in stable]
        axes.errorbar(
            [each["rate"] for each in stable],
            [value["mean"] / unit for value in values],
            [(value["standard_error"] or 0) / unit for value in values],
            marker="o",
            capsize=3,
            color=color,
        )
    # Two axes, because the gradient error alone is small for a gray matte, too.
    errors.set(xlabel="learning rate", xscale="log")
    errors.set_ylabel("gradient error ×1e-3, validation people", color="C0")
    sad.set_ylabel("SAD ×1e3", color="C1")
    for axes in (losses, errors):
        axes.grid(alpha=0.3)
    with atomic_write(path) as scratch:
        figure.savefig(scratch)


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("run", help="train and measure every rate")
    study.add_argument("--net", choices=RECIPES, default="portrait")
    study.add_argument("--rates", nargs="+", type=positive, default=RATES, metavar="RATE")
    study.add_argument("--iterations", type=count, default=400)
    study.add_argument("--dataset", type=named_path, default=PORTRAIT_SET)
    study.add_argument("--every", type=count, default=EVERY, help=f"validation photo ({EVERY})")
    commands.add_parser("docs", help=f"put table and figure into {shown(DOCS.parent)}")
    options = parser.parse_args(argv)
    if options.command == "run":
        check_databases(stages_of(options.net)[-1].net)
        images = len(validation_portraits(options.dataset, options.every))
        rates = [
            measure_rate(options.net, rate, options.iterations, options.dataset, options.every)
            for rate in sorted(options.rates, reverse=True)
        ]
        report = {
            "machine": describe_machine(),
            "net": options.net,
            "images": images,
            "iterations": options.iterations,
            "rates": rates,
        }
        write_report(RESULTS, report)
        draw(RESULTS.with_suffix(".png"), report)
        print(rates_table(report))
        return 0
    report = read_report(RESULTS, COMMAND)
    content = f"{rates_table(report)}\n\n![learning rates]({FIGURE.name})"
    draw(FIGURE, report)
    renew_section(DOCS, SECTION, COMMAND, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
