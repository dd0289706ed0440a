"""Errors of snapshots on validation people, and which snapshot is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from data_prep.common.errors import InputError
from data_prep.datasets.dataset import Dataset, Portrait
from tools.evaluation.errors_cache import errors_of
from tools.evaluation.estimates import Errors, Estimate, estimates
from tools.evaluation.methods import net_method
from tools.evaluation.portraits import people_of
from tools.evaluation.report import write_report
from tools.matting.models import ROOT, model_of_net
from tools.training.plots import plot_training
from tools.training.stages import Stage, databases

OUT = ROOT / "out/curves"
#: The rendered set, whose validation people choose snapshots.
PORTRAIT_SET = ROOT / "data/portrait_set"
# Every N-th validation photo is measured: those of one person differ in the background only.
EVERY = 2


@dataclass(frozen=True)
class Point:
    """Errors of one snapshot.

    Attributes
    ----------
    stage : int
        Number of the stage within the training, from 0.
    iteration : int
    weights : str
    errors : dict of str to Estimate
        By measure.
    """

    stage: int
    iteration: int
    weights: str
    errors: dict[str, Estimate]


def validation_portraits(folder: Path, every: int = EVERY) -> list[Portrait]:
    """Every N-th portrait of the validation list, N being ``every``.

    Raises
    ------
    InputError
        If the dataset has none.
    """
    portraits = Dataset.open(folder).validation[::every]
    if not portraits:
        raise InputError(
            f"{folder} has no validation people (validation.txt); "
            "render the set with `make portrait-set`."
        )
    return portraits


def trained_shape_mask(stage: Stage) -> Path:
    """Path of the shape mask that lies beside a stage's databases."""
    return ROOT / databases(stage.net)[0].parent / "shape_mask.npz"


def errors_of_weights(
    name: str,
    model: str,
    weights: Path,
    stage: Stage,
    portraits: Sequence[Portrait],
    out: Path,
    deploy: Path | None = None,
) -> Errors:
    """Errors of some weights on each portrait, measured once (``out``/NAME.jsonl).

    Parameters
    ----------
    name : str
    model : str
        Key of `tools.matting.models.MODELS`.
    weights : Path
    stage : Stage
        The stage that trained them; its shape mask is used.
    portraits : sequence of Portrait
    out : Path
    deploy : Path, optional
        A net definition in place of the model's.
    """
    method = net_method(name, name, model, weights, deploy, trained_shape_mask(stage))
    return errors_of(method, portraits, out)


def mean_errors_of_weights(
    name: str,
    model: str,
    weights: Path,
    stage: Stage,
    dataset: Path,
    portraits: Sequence[Portrait],
    out: Path,
) -> dict[str, Estimate]:
    """Mean errors of some weights on portraits of a dataset.

    Parameters
    ----------
    name, model, weights, stage, portraits, out
        See `errors_of_weights`.
    dataset : Path
        The portraits' folder, which says who is on them.
    """
    errors = errors_of_weights(name, model, weights, stage, portraits, out)
    return estimates(errors, people_of(dataset, portraits))


def learning_curve(
    net: str, stages: Sequence[Stage], dataset: Path, every: int = EVERY, out: Path = OUT
) -> list[Point]:
    """Errors of every snapshot of a training, in order; also written to ``out``/NET.json."""
    portraits = validation_portraits(dataset, every)
    points = [
        Point(
            number,
            iteration,
            str(weights),
            mean_errors_of_weights(
                f"{net}_{number}_{iteration}",
                model_of_net(net),
                weights,
                stage,
                dataset,
                portraits,
                out,
            ),
        )
        for number, stage in enumerate(stages)
        for iteration, weights in stage.snapshots()
    ]
    report = {"net": net, "images": len(portraits), "points": [asdict(point) for point in points]}
    write_report(out / f"{net}.json", report)
    return points


def geometric_mean(gradient: float, sad: float) -> float:
    """Geometric mean of gradient error and SAD, by which weights and settings are chosen.

    The gradient error alone would prefer what makes mattes gray: it is small there.
    """
    return (gradient * sad) ** 0.5


def selection_error(errors: Mapping[str, Estimate]) -> float:
    """`geometric_mean` of measured errors."""
    return geometric_mean(errors["dapm_gradient"].mean, errors["sad"].mean)


def best_point(points: Sequence[Point], stage: int) -> Point:
    """Snapshot of a stage with the smallest `selection_error`; the earliest of equal ones.

    Raises
    ------
    InputError
        If the stage has no snapshot.
    """
    candidates = [point for point in points if point.stage == stage]
    if not candidates:
        raise InputError("There is no snapshot to choose from; train first.")
    return min(candidates, key=lambda point: (selection_error(point.errors), point.iteration))


def describe(points: Sequence[Point]) -> str:
    """Table in plain text, one line for each snapshot."""
    lines = [f"{'stage':>5} {'iteration':>9} {'grad e-3':>16} {'SAD':>14}"]
    for point in points:
        gradient, sad = point.errors["dapm_gradient"], point.errors["sad"]
        spread = [each.standard_error or 0.0 for each in (gradient, sad)]
        lines.append(
            f"{point.stage:5d} {point.iteration:9d} {gradient.mean * 1e3:8.3f} ± "
            f"{spread[0] * 1e3:5.3f} {sad.mean:7.3f} ± {spread[1]:4.2f}"
        )
    return "\n".join(lines)


def draw_curve(net: str, stages: Sequence[Stage], out: Path = OUT) -> None:
    """Draw the logs with the errors of the snapshots, in out/NET_training.png."""
    logs = [stage.log for stage in stages if stage.log.is_file()]
    plot_training(logs, ROOT / f"out/{net}_training.png", out / f"{net}.json")
