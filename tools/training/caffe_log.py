"""Reading the logs of `caffe train`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.common.errors import InputError

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
class LoggedStage:
    """The values that one stage of a training logged, from iteration 0 through all resumes.

    Attributes
    ----------
    series : dict of str to dict of int to float
        Values by iteration, for each series: ``loss`` is Caffe's smoothed training loss,
        ``lr`` the learning rate, ``train/NAME`` and ``test/NAME`` are outputs of the net,
        and ``matting/KEY`` is a value that the matting layer prints.
    losses : set of str
        Names of the series that are losses among the net's outputs.
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
        """Drop the values that a resumed training computes again."""
        for values in self.series.values():
            for known in [known for known in values if known >= iteration]:
                del values[known]


def parse_log(lines: Iterable[str], stages: list[LoggedStage]) -> int:
    """Add the values of one log to those of earlier logs.

    Parameters
    ----------
    lines : iterable of str
        The log of `caffe train`; lines that do not come from glog are ignored.
    stages : list of LoggedStage
        Extended in place: a resumed training continues the last stage, a training
        that starts at iteration 0 adds a stage.

    Returns
    -------
    int
        Number of iterations that the log displays.
    """
    iteration: int | None = None
    resuming = starting = False
    displayed = 0
    # The matting layer prints its values during a forward pass, before Caffe prints the
    # iteration that the pass belongs to.
    waiting: dict[str, float] = {}
    for line in lines:
        if RESUMING.search(line):
            resuming = True
        elif STARTING.search(line):
            starting = True
        elif match := ITERATION.search(line):
            iteration = int(match["iteration"])
            if not stages or (starting and not resuming):
                stages.append(LoggedStage())
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


def read_logs(paths: Iterable[Path]) -> list[LoggedStage]:
    """Read Caffe logs in the order of training.

    Raises
    ------
    InputError
        If a log cannot be read, or displays no iteration.
    """
    stages: list[LoggedStage] = []
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


def add_errors(stages: list[LoggedStage], path: Path) -> None:
    """Add the errors of snapshots as series ``error/MEASURE``.

    Raises
    ------
    InputError
        If the file is not the learning curve of this training.
    """
    try:
        for point in json.loads(path.read_text())["points"]:
            for measure, value in point["errors"].items():
                iteration, mean = int(point["iteration"]), float(value["mean"])
                stages[point["stage"]].add(f"error/{measure}", iteration, mean)
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise InputError(
            f"{path} is no learning curve of these logs; "
            "write it with tools/experiments/learning_curve.py."
        ) from None


def series_names(stages: Iterable[LoggedStage]) -> list[str]:
    """Names of the series of all stages, in order of appearance."""
    return list(dict.fromkeys(name for stage in stages for name in stage.series))
