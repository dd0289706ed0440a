"""Pictures of a training: losses, lambda, learning rate, and errors of snapshots."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.common.errors import InputError, printable
from data_prep.common.files import atomic_write
from data_prep.common.images import refuse_overwriting
from tools.training.caffe_log import LoggedStage, add_errors, read_logs, series_names

PICTURE_SUFFIXES = (".png", ".pdf", ".svg")


FIRST_COLUMNS = ["stage", "iteration"]


def check_table(path: Path) -> None:
    """Refuse to replace a table that `write_series` has not written; `InputError` if it is one."""
    head = ",".join(FIRST_COLUMNS).encode()
    if path.exists() and not path.read_bytes().startswith(head):
        raise InputError(
            f"{path}, where the numbers would be written, is another file; give the picture "
            "another name."
        )


def write_series(path: Path, stages: list[LoggedStage]) -> None:
    """Write every series as CSV: a line for each iteration, a column for each series."""
    names = series_names(stages)
    with atomic_write(path) as scratch, open(scratch, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([*FIRST_COLUMNS, *names])
        for number, stage in enumerate(stages, start=1):
            for iteration in sorted(set().union(*stage.series.values())):
                values = (stage.series.get(name, {}).get(iteration, "") for name in names)
                writer.writerow([number, iteration, *values])


def panels(stages: Iterable[LoggedStage]) -> dict[str, list[str]]:
    """Names of the series in each panel, by the label of its axis; empty panels are omitted."""
    names = series_names(stages)
    losses = set().union(*(stage.losses for stage in stages))
    groups = {
        # Caffe's smoothed loss is the sum of the train outputs and stands for them.
        "loss": [n for n in names if n == "loss" or (n in losses and n.startswith("test/"))],
        "gradient error": [n for n in names if n == "error/dapm_gradient"],
        "SAD": [n for n in names if n == "error/sad"],
        "lambda": [n for n in names if n == "matting/lambda"],
        "share of pixels": [n for n in names if n.startswith("matting/") and n != "matting/lambda"],
        "learning rate": [n for n in names if n == "lr"],
    }
    return {label: group for label, group in groups.items() if group}


def draw(path: Path, stages: list[LoggedStage], title: str) -> None:
    """Draw the panels one above the other; in each, the stages follow one another."""
    groups = panels(stages)
    figure = Figure(figsize=(9, 1 + 2.4 * len(groups)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, parse_math=False)
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
    with atomic_write(path) as scratch, warnings.catch_warnings():
        # Of signs of a log's name that the font does not have.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(scratch)


def _draw_series(axes: Axes, stages: list[LoggedStage], name: str, color: str) -> None:
    """Draw one series; a dotted line separates stages, and no line connects them."""
    start = 0
    label: str | None = name  # in the legend once
    for stage in stages:
        if points := sorted(stage.series.get(name, {}).items()):
            iterations, values = zip(*points)
            axes.plot(
                [start + iteration for iteration in iterations],
                values,
                color=color,
                marker="o" if len(points) < 30 else None,
                markersize=3,
                linewidth=1,
                label=label,
            )
            label = None
        if start:
            axes.axvline(start, color="gray", linestyle=":", linewidth=1)
        start += stage.last_iteration()


def plot_training(logs: Sequence[Path], out: Path, errors: Path | None = None) -> list[LoggedStage]:
    """Draw a training from its logs, and write the values as CSV beside the picture.

    Parameters
    ----------
    logs : sequence of Path
        Logs of `caffe train`, in the order of training.
    out : Path
        Path of the picture, with one of `PICTURE_SUFFIXES`.
    errors : Path, optional
        Errors of snapshots, as `tools.training.selection.learning_curve` writes them.

    Returns
    -------
    list of LoggedStage
        The stages that were drawn.

    Raises
    ------
    InputError
        If a file cannot be read, ``out`` is no picture's name or one of the files read, or another
        file has the name of the CSV.
    """
    if out.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(
            f"{out} is not the name of a picture; let it end in {' or '.join(PICTURE_SUFFIXES)}."
        )
    table = out.with_suffix(".csv")
    refuse_overwriting([out, table], [*logs, *([errors] if errors else [])])
    check_table(table)
    stages = read_logs(logs)
    if errors:
        add_errors(stages, errors)
    draw(out, stages, printable(", ".join(path.name for path in logs)))
    write_series(table, stages)
    return stages
