"""SGD against Adam for the nets of Table 1, and rates of what is trained end to end.

    .venv/bin/python -m tools.experiments.solver_types run [--iterations 200]
    .venv/bin/python -m tools.experiments.solver_types docs  # puts tables into docs/benchmark.md

Solvers are tried by short warm starts of the FCN, rates by what follows the warm start of ours
("we tune the learning rates in range [1e-3, 1e-6]", as the paper says).  Trials of one training
are `caffe train` from the same weights on the same portraits in the same order.  The mattes are
those of validation people, as the settings that a training begins with give them.  Finished
trials are kept, and an interrupted one goes on (snapshots/solver_types/).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from data_prep.common.errors import InputError, run_program
from data_prep.common.options import count
from data_prep.common.parallel import open_workers
from tools.evaluation.report import (
    BENCHMARK,
    describe_machine,
    markdown_table,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.matting.models import ROOT
from tools.table.rows import Row, chosen_rows
from tools.table.runs import HALF, Family, run_named
from tools.table.training import Training, first_settings, settled_warm_iterations
from tools.table.tuning import MeanErrors, Tuner, validation_truths
from tools.training.caffe_log import read_logs
from tools.training.stages import BLOWN_UP

FOLDER = ROOT / "snapshots/solver_types"
RESULTS = ROOT / "docs/solver_types.json"
SECTION, COMMAND = "solver-types", "make solver-types"
ITERATIONS = 200
EVERY, WORKERS = 8, 2
WARM, END = "fcn_trimap", "ours"
#: Whose mattes are measured, by the training that is tried.
ROWS = {
    WARM: Row("solver_types", "FCN's warm start", "net", WARM),
    END: chosen_rows(["ours"])[0],
}


@dataclass(frozen=True)
class Trial:
    """A type of solver with its settings.

    Attributes
    ----------
    run : str
        What is trained (`tools.table.runs.RUNS`).
    name : str
        Of its folder.
    type : {"Adam", "SGD"}
    momentum, rate : float
    new_layers_rate : float
        See `tools.table.runs.Family`.
    weight_decay : float
    """

    run: str
    name: str
    type: str
    momentum: float
    rate: float
    new_layers_rate: float = 1.0
    weight_decay: float = 0.0

    def family(self) -> Family:
        """The table's nets, trained this way."""
        return replace(
            HALF,
            folder=FOLDER / self.name,
            warm_folder=HALF.folder if run_named(self.run).after else None,
            new_layers_rate=self.new_layers_rate,
            solver_settings={
                "type": self.type,
                "momentum": self.momentum,
                "base_lr": self.rate,
                "weight_decay": self.weight_decay,
            },
        )


#: Rates of SGD are those of DeepLab and PortraitFCN+ and below; new layers learn 10 or 100 times as
#: fast.  The table has Adam's 3e-5 and 1e-5.
TRIALS = (
    Trial(WARM, "adam", "Adam", 0.9, 3e-5),
    Trial(WARM, "sgd_90_10", "SGD", 0.9, 1e-4, 10, 5e-4),
    Trial(WARM, "sgd_90_100", "SGD", 0.9, 1e-5, 100, 5e-4),
    Trial(WARM, "sgd_99_10", "SGD", 0.99, 1e-5, 10, 5e-4),
    Trial(WARM, "sgd_99_100", "SGD", 0.99, 1e-6, 100, 5e-4),
    Trial(END, "rate_1e-3", "Adam", 0.9, 1e-3),
    Trial(END, "rate_1e-4", "Adam", 0.9, 1e-4),
    Trial(END, "rate_1e-5", "Adam", 0.9, 1e-5),
    Trial(END, "rate_1e-6", "Adam", 0.9, 1e-6),
)


def trained(trial: Trial, iterations: int) -> Training | None:
    """The training of a trial, at its end; None if it blew up before.

    Raises
    ------
    InputError
        If Caffe fails or is stopped, or the table's warm start is missing.
    """
    run = run_named(trial.run)
    warm = settled_warm_iterations(HALF) if run.after else iterations
    if warm is None:
        raise InputError(f"{trial.name} begins after a warm start; run `tools/table1.py train`.")
    training = Training(run, trial.family(), warm)
    try:
        training.stage()  # moves aside what depended on something else
        if training.reached() < iterations:
            training.advance(iterations)
    except InputError as error:
        if BLOWN_UP in str(error):
            return None
        raise
    return training


def measured(
    trial: Trial, training: Training | None, iterations: int, tuner: Tuner
) -> dict[str, Any]:
    """Settings, loss and errors of a trial; `training` as `trained` returns it.

    The loss is the mean of the last five that Caffe shows, each of which is one of 20 iterations.
    Where any is no number, there are neither loss nor errors.
    """
    losses = _losses(training) if training else [math.nan]
    result: dict[str, Any] = {**asdict(trial), "loss": None, "errors": None}
    if training and all(map(math.isfinite, losses)):
        row, run = ROWS[trial.run], training.run
        settings = first_settings(HALF, run) if run.begins_with_choice else row.start
        mattes = tuner.mattes(row, settings, training.mean_of_slice(iterations))
        (errors,) = tuner.compare([mattes], trial.name)
        result |= {"loss": float(np.mean(losses[-5:])), "errors": asdict(errors)}
    return result


def _losses(training: Training) -> list[float]:
    series = read_logs([training.log])[-1].series["loss"]
    return [loss for _, loss in sorted(series.items())]


def section(report: Mapping[str, Any]) -> str:
    """The tables, in Markdown."""
    about = (
        f"after {report['iterations']} iterations; mattes of {report['images']} validation images "
        f"({report['machine']['date']})"
    )
    titles = {
        WARM: f"FCN's warm start by solver, {about}:",
        END: f"Ours, end to end from its warm start, by rate, {about}:",
    }
    trials = {run: [each for each in report["trials"] if each["run"] == run] for run in titles}
    return "\n\n".join(f"{titles[run]}\n\n{_table(each)}" for run, each in trials.items() if each)


def _table(trials: Sequence[Mapping[str, Any]]) -> str:
    head = ["", "momentum", "rate", "of new layers", "loss", "gradient ×1e-3", "SAD ×1e3"]
    rows = []
    for trial in trials:
        new = trial["rate"] * trial["new_layers_rate"]
        cells = [trial["type"], f"{trial['momentum']:g}", f"{trial['rate']:.0e}", f"{new:.0e}"]
        if trial["errors"] is None:
            rows.append([*cells, "not finite", "", ""])
            continue
        errors = MeanErrors(**trial["errors"])
        loss = f"{trial['loss']:.3f}"
        rows.append([*cells, loss, f"{1e3 * errors.gradient:.2f}", f"{errors.sad:.1f}"])
    return markdown_table(head, rows)


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("run", help="train and measure every trial")
    study.add_argument("--iterations", type=count, default=ITERATIONS, metavar="N")
    commands.add_parser("docs", help=f"put the tables into {shown(BENCHMARK)}")
    options = parser.parse_args(argv)
    if options.command == "docs":
        renew_section(BENCHMARK, SECTION, COMMAND, section(read_report(RESULTS, COMMAND)))
        return 0
    truths = validation_truths(HALF, EVERY)
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "iterations": options.iterations,
        "images": len(truths),
        "trials": [],
    }
    for trial in TRIALS:
        training = trained(trial, options.iterations)  # with all cores, which workers share
        with open_workers(WORKERS) as ordered_map:
            tuner = Tuner(HALF, truths, ordered_map, FOLDER)
            result = measured(trial, training, options.iterations, tuner)
        report["trials"].append(result)
        write_report(RESULTS, report)
    print(section(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
