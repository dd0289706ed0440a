"""SGD against Adam for the nets of Table 1, by short warm starts of its FCN.

    .venv/bin/python -m tools.experiments.solver_types run [--iterations 200]
    .venv/bin/python -m tools.experiments.solver_types docs  # puts the table into docs/benchmark.md

Every trial is `caffe train` from the same weights on the same portraits in the same order.  The
mattes are those of validation people, as the row's first settings give them.  Finished
trials are kept, and an interrupted one goes on (snapshots/solver_types/).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from data_prep.common.errors import run_program
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
from tools.table.rows import Row
from tools.table.runs import HALF, Family, run_named
from tools.table.training import Training
from tools.table.tuning import MeanErrors, Tuner, validation_truths
from tools.training.caffe_log import read_logs

FOLDER = ROOT / "snapshots/solver_types"
RESULTS = ROOT / "docs/solver_types.json"
SECTION, COMMAND = "solver-types", "make solver-types"
ITERATIONS = 200
EVERY, WORKERS = 8, 2
RUN = run_named("fcn_trimap")
ROW = Row("solver_types", "FCN's warm start", "net", RUN.name)


@dataclass(frozen=True)
class Trial:
    """A type of solver with its settings.

    Attributes
    ----------
    name : str
        Of its folder.
    type : {"Adam", "SGD"}
    momentum, rate : float
    new_layers_rate : float
        See `tools.table.runs.Family`.
    weight_decay : float
    """

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
            new_layers_rate=self.new_layers_rate,
            solver_settings={
                "type": self.type,
                "momentum": self.momentum,
                "base_lr": self.rate,
                "weight_decay": self.weight_decay,
            },
        )


#: The first one is that of the table.  Rates of SGD are those of DeepLab and PortraitFCN+ and
#: below; new layers learn 10 or 100 times as fast.
TRIALS = (
    Trial("adam", "Adam", 0.9, 3e-5),
    Trial("sgd_90_10", "SGD", 0.9, 1e-4, 10, 5e-4),
    Trial("sgd_90_100", "SGD", 0.9, 1e-5, 100, 5e-4),
    Trial("sgd_99_10", "SGD", 0.99, 1e-5, 10, 5e-4),
    Trial("sgd_99_100", "SGD", 0.99, 1e-6, 100, 5e-4),
)


def trained(trial: Trial, iterations: int) -> Training:
    """The training of a trial, at its end."""
    training = Training(RUN, trial.family(), iterations)
    if training.reached() < iterations:
        training.advance(iterations)
    return training


def measured(trials: Sequence[Trial], iterations: int, tuner: Tuner) -> list[dict[str, Any]]:
    """Train and measure all trials: settings, loss and errors.

    The loss is the mean of the last five that Caffe shows, each of which is one of 20 iterations.
    Where any is no number, there are neither loss nor errors.
    """
    results = []
    for trial in trials:
        training = trained(trial, iterations)
        losses = [loss for _, loss in sorted(read_logs([training.log])[-1].series["loss"].items())]
        result: dict[str, Any] = {**asdict(trial), "loss": None, "errors": None}
        if all(map(math.isfinite, losses)):
            mattes = tuner.mattes(ROW, ROW.start, training.weights_at(iterations))
            (errors,) = tuner.compare([mattes], trial.name)
            result |= {"loss": float(np.mean(losses[-5:])), "errors": asdict(errors)}
        results.append(result)
    return results


def section(report: Mapping[str, Any]) -> str:
    """The table, in Markdown."""
    head = ["", "momentum", "rate", "of new layers", "loss", "gradient ×1e-3", "SAD ×1e3"]
    rows = []
    for trial in report["trials"]:
        new = trial["rate"] * trial["new_layers_rate"]
        cells = [trial["type"], f"{trial['momentum']:g}", f"{trial['rate']:.0e}", f"{new:.0e}"]
        if trial["errors"] is None:
            rows.append([*cells, "not finite", "", ""])
            continue
        errors = MeanErrors(**trial["errors"])
        loss = f"{trial['loss']:.3f}"
        rows.append([*cells, loss, f"{1e3 * errors.gradient:.2f}", f"{errors.sad:.1f}"])
    return (
        f"FCN's warm start after {report['iterations']} iterations, by solver; mattes of "
        f"{report['images']} validation images ({report['machine']['date']}):\n\n"
        + markdown_table(head, rows)
    )


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("run", help="train and measure every trial")
    study.add_argument("--iterations", type=count, default=ITERATIONS, metavar="N")
    commands.add_parser("docs", help=f"put the table into {shown(BENCHMARK)}")
    options = parser.parse_args(argv)
    if options.command == "docs":
        renew_section(BENCHMARK, SECTION, COMMAND, section(read_report(RESULTS, COMMAND)))
        return 0
    truths = validation_truths(HALF, EVERY)
    with open_workers(WORKERS) as ordered_map:
        tuner = Tuner(HALF, truths, ordered_map, FOLDER)
        trials = measured(TRIALS, options.iterations, tuner)
    report = {
        "machine": describe_machine(),
        "iterations": options.iterations,
        "images": len(truths),
        "trials": trials,
    }
    write_report(RESULTS, report)
    print(section(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
