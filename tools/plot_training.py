#!/usr/bin/env python3
"""Draw loss, lambda, learning rate and band share from Caffe logs.

    tools/plot_training.py LOG [LOG ...] [--errors CURVE] -o out/training.png

The logs are what `caffe train` writes to stderr, in the order of training.  A
log that resumes from a snapshot replaces what the earlier one wrote after that
snapshot; a log that starts anew (end to end after the warm start) is drawn
behind it.  The numbers go beside the picture, as CSV.  CURVE is what
tools/learning_curve.py writes: errors of the mattes by snapshot.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import csv
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.errors import InputError, printable, run_program
from data_prep.images import atomic_write, refuse_overwriting

PICTURE_SUFFIXES = (".png", ".pdf", ".svg")

NUMBER = r"[-+]?(?:nan|inf|\d+\.?\d*(?:e[-+]?\d+)?)"
RESUMING = re.compile(r"\] Resuming from ")
STARTING = re.compile(r"\] Starting Optimization")
ITERATION = re.compile(r"\] Iteration (?P<iteration>\d+)\b(?P<rest>.*)")
LOSS = re.compile(rf"loss = (?P<value>{NUMBER})")
LEARNING_RATE = re.compile(rf", lr = (?P<value>{NUMBER})")
NET_OUTPUT = re.compile(
    rf"\] +(?P<phase>Train|Test) net output #\d+: (?P<name>\S+) = (?P<value>{NUMBER})"
    r"(?P<is_loss> \(\* .* loss\))?"
)
MATTING = re.compile(r"\[matting\] (?P<pairs>.*)")
PAIR = re.compile(rf"(?P<key>\w+)=(?P<value>{NUMBER})")


@dataclass
class Stage:
    """One training from its iteration 0, through any number of resumes.

    Attributes
    ----------
    series : dict of str to dict of int to float
        Iteration to value.  ``loss`` is Caffe's smoothed training loss, ``lr``
        the learning rate, ``train/NAME`` and ``test/NAME`` are net outputs,
        ``matting/KEY`` what the matting layer reports.
    losses : set of str
        The net outputs among them that are losses.
    """

    series: dict[str, dict[int, float]] = field(default_factory=dict)
    losses: set[str] = field(default_factory=set)

    def add(self, name: str, iteration: int, value: float) -> None:
        """Store one value; a later one for the same iteration replaces it."""
        self.series.setdefault(name, {})[iteration] = value

    def last_iteration(self) -> int:
        """The largest iteration of any series; 0 if there is none."""
        return max((max(values) for values in self.series.values() if values), default=0)

    def forget_from(self, iteration: int) -> None:
        """Drop what a resumed training is about to compute again."""
        for values in self.series.values():
            for known in [known for known in values if known >= iteration]:
                del values[known]


def parse_log(lines: Iterable[str], stages: list[Stage]) -> int:
    """Add the lines of one log to what earlier logs told.

    Parameters
    ----------
    lines : iterable of str
        glog lines of `caffe train`; anything else in between is ignored.
    stages : list of Stage
        Extended in place: a resumed training continues the last stage, one
        that starts anew opens another.

    Returns
    -------
    int
        How many iterations were displayed.
    """
    iteration: int | None = None
    resuming = starting = False
    displayed = 0
    # The matting layer speaks during a forward pass, before Caffe says which
    # iteration that pass belongs to.
    waiting: dict[str, float] = {}
    for line in lines:
        if RESUMING.search(line):
            resuming = True
        elif STARTING.search(line):
            starting = True
        elif match := ITERATION.search(line):
            iteration = int(match["iteration"])
            if not stages or (starting and not resuming):
                stages.append(Stage())
            elif starting:
                stages[-1].forget_from(iteration)
            starting = resuming = False
            if rate := LEARNING_RATE.search(match["rest"]):
                stages[-1].add("lr", iteration, float(rate["value"]))
            elif loss := LOSS.search(match["rest"]):
                displayed += 1
                stages[-1].add("loss", iteration, float(loss["value"]))
                for key, value in waiting.items():
                    stages[-1].add(f"matting/{key}", iteration, value)
                waiting = {}
        elif (match := NET_OUTPUT.search(line)) and iteration is not None:
            name = f"{match['phase'].lower()}/{match['name']}"
            stages[-1].add(name, iteration, float(match["value"]))
            if match["is_loss"]:
                stages[-1].losses.add(name)
        elif match := MATTING.search(line):
            for pair in PAIR.finditer(match["pairs"]):
                waiting[pair["key"]] = float(pair["value"])
    return displayed


def read_logs(paths: Iterable[Path]) -> list[Stage]:
    """Read Caffe logs in the order of training.

    Raises
    ------
    InputError
        If a log cannot be read or holds no iteration.
    """
    stages: list[Stage] = []
    for path in paths:
        try:
            text = path.read_text(errors="replace")
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); give a log that caffe train wrote."
            ) from None
        if not parse_log(text.splitlines(), stages):
            raise InputError(
                f"{path} holds no iteration of a training; give what caffe train writes "
                "to stderr (caffe train ... 2>&1 | tee train.log)."
            )
    return stages


def add_errors(stages: list[Stage], path: Path) -> None:
    """Add the errors of snapshots as series ``error/MEASURE``.

    Raises
    ------
    InputError
        If the file is no learning curve of such a training.
    """
    try:
        for point in json.loads(path.read_text())["points"]:
            for measure, value in point["errors"].items():
                stages[point["stage"]].add(f"error/{measure}", point["iteration"], value["mean"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        raise InputError(
            f"{path} is no learning curve of these logs; write it with tools/learning_curve.py."
        ) from None


def series_names(stages: Iterable[Stage]) -> list[str]:
    """Every series of any stage, in order of appearance."""
    return list(dict.fromkeys(name for stage in stages for name in stage.series))


def write_series(path: Path, stages: list[Stage]) -> None:
    """Write every series as CSV: a line for each iteration, a column for each series."""
    names = series_names(stages)
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["stage", "iteration", *names])
        for number, stage in enumerate(stages, start=1):
            for iteration in sorted(set().union(*stage.series.values())):
                values = (stage.series.get(name, {}).get(iteration, "") for name in names)
                writer.writerow([number, iteration, *values])


def panels(stages: Iterable[Stage]) -> dict[str, list[str]]:
    """Which series share one panel: axis label to names; panels without any are left out."""
    names = series_names(stages)
    losses = set().union(*(stage.losses for stage in stages))
    groups = {
        # Caffe's smoothed loss sums the train outputs: drawn instead of them.
        "loss": [n for n in names if n == "loss" or (n in losses and n.startswith("test/"))],
        "gradient error": [n for n in names if n == "error/dapm_gradient"],
        "SAD": [n for n in names if n == "error/sad"],
        "lambda": [n for n in names if n == "matting/lambda"],
        "share of pixels": [
            n for n in names if n.startswith("matting/") and n != "matting/lambda"
        ],
        "learning rate": [n for n in names if n == "lr"],
    }
    return {label: group for label, group in groups.items() if group}


def draw(path: Path, stages: list[Stage], title: str) -> None:
    """Draw the panels one above the other, the stages one behind the other."""
    groups = panels(stages)
    figure = Figure(figsize=(9, 1 + 2.4 * len(groups)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    all_axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (label, names) in zip(all_axes, groups.items()):
        for color, name in enumerate(names):
            _draw_series(axes, stages, name, f"C{color}")
        if label in ("loss", "learning rate"):
            axes.set_yscale("log", nonpositive="mask")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(loc="best", fontsize=8)
    all_axes[-1].set_xlabel("iteration")
    figure.align_ylabels()
    with atomic_write(path) as scratch:
        figure.savefig(scratch)


def _draw_series(axes: Axes, stages: list[Stage], name: str, color: str) -> None:
    """One curve; stages are divided by dotted lines and joined by none."""
    start, label = 0, name
    for stage in stages:
        if points := sorted(stage.series.get(name, {}).items()):
            iterations, values = zip(*points)
            axes.plot(
                [start + iteration for iteration in iterations], values, color=color,
                marker="o" if len(points) < 30 else None, markersize=3, linewidth=1,
                label=label,
            )  # fmt: skip
            label = None
        if start:
            axes.axvline(start, color="grey", linestyle=":", linewidth=1)
        start += stage.last_iteration()


def main(argv: list[str] | None = None) -> int:
    """Draw the training that some logs tell of."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("logs", nargs="+", type=Path, metavar="LOG", help="Caffe log")
    parser.add_argument("--errors", type=Path, metavar="CURVE", help="of snapshots")
    parser.add_argument("-o", "--out", type=Path, default=Path("out/training.png"))
    options = parser.parse_args(argv)
    if options.out.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(
            f"{options.out} is not the name of a picture; "
            f"let it end in {' or '.join(PICTURE_SUFFIXES)}."
        )
    table = options.out.with_suffix(".csv")
    read = options.logs + ([options.errors] if options.errors else [])
    refuse_overwriting([options.out, table], read)
    stages = read_logs(options.logs)
    if options.errors:
        add_errors(stages, options.errors)
    draw(options.out, stages, printable(", ".join(path.name for path in options.logs)))
    write_series(table, stages)
    reached = " + ".join(str(stage.last_iteration()) for stage in stages)
    print(f"{reached} iterations are drawn in {options.out}; the numbers are in {table}.")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
