"""The losses of all trainings of Table 1 as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write
from tools.table.runs import RUNS, Family
from tools.table.training import Training
from tools.training.caffe_log import LoggedStage, read_logs


def draw_curves(family: Family, picture: Path) -> bool:
    """Draw the losses of all trainings, warm starts above; whether there is any log."""
    logs = {run: Training(run, family, 0).log for run in RUNS}
    found = {run: stage for run, path in logs.items() if (stage := _logged(path))}
    if not found:
        return False
    figure = Figure(figsize=(9, 7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1)
    for run, stage in found.items():
        _draw_loss(below if run.after else above, run.name, stage.series["loss"])
    for axes, title in ((above, "warm starts"), (below, "after them")):
        axes.set_title(title, fontsize=10)
        axes.set_ylabel("loss, mean of at most 100 iterations")
        axes.set_yscale("log")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    below.set_xlabel("iteration")
    with atomic_write(picture) as scratch:
        figure.savefig(scratch)
    return True


def _logged(path: Path) -> LoggedStage | None:
    """What a training logged since it last began at its start; None where it shows nothing."""
    try:
        return read_logs([path])[-1]
    except InputError:  # no log, or stopped before the first values
        return None


def _draw_loss(axes: Axes, name: str, series: Mapping[int, float]) -> None:
    """Draw a loss, a mean of 20 iterations, smoothed over five values or fewer in a short log."""
    iterations = np.array(sorted(series))
    values = np.array([series[iteration] for iteration in iterations])
    count = max(1, min(5, len(values) // 2))
    smooth = np.convolve(values, np.full(count, 1 / count), mode="valid")
    axes.plot(iterations[count - 1 :], smooth, label=name, linewidth=1.2)
