"""One stage of a training: a solver file, run by `caffe train` from its last snapshot on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from data_prep.caffe_data.caffe_lmdb import open_database
from data_prep.common.errors import InputError
from data_prep.common.files import atomic_write_keeping
from prototxt.catalog import PORTRAIT_PREPARED
from tools.matting.device import caffe_program, chosen_gpu
from tools.matting.models import ROOT
from tools.training.caffe_log import ITERATION, LOSS
from tools.training.failure import failure_reason

#: Lines at the end of Caffe's log that hold a stack trace and its cause above it.
LAST_LINES = 200
#: Words of the layers' message about a rate that was too large; `run_stage` repeats it.
BLOWN_UP = "NaN or infinity"

#: Solver files of a net's stages, in order.
RECIPES = {
    "lite": ("lite_trimap_solver.prototxt", "lite_matting_solver.prototxt"),
    "fcn8s": ("trimap_solver.prototxt", "matting_solver.prototxt"),
    "fcn8s_half": ("fcn8s_half_trimap_solver.prototxt", "fcn8s_half_matting_solver.prototxt"),
    "portrait": ("portrait_trimap_solver.prototxt", "portrait_matting_solver.prototxt"),
}


def is_whole(state: Path) -> bool:
    """Whether a solver state was written completely.

    Caffe always writes the field ``current_step``, and writes it last.
    """
    from caffe.proto import caffe_pb2
    from google.protobuf.message import DecodeError

    try:
        return caffe_pb2.SolverState.FromString(state.read_bytes()).HasField("current_step")
    except DecodeError:
        return False


@dataclass(frozen=True)
class Stage:
    """One solver file and what it writes.

    Attributes
    ----------
    solver : Path
    prefix : Path
        Its ``snapshot_prefix``.
    iterations : int
        Its ``max_iter``.
    net : Path
        The net definition it trains.
    """

    solver: Path
    prefix: Path
    iterations: int
    net: Path

    @classmethod
    def read(cls, path: Path) -> Stage:
        """From a solver prototxt."""
        from caffe.proto import caffe_pb2
        from google.protobuf import text_format

        solver = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
        return cls(path, ROOT / solver.snapshot_prefix, solver.max_iter, ROOT / solver.net)

    @property
    def result(self) -> Path:
        """The weights after the last iteration."""
        return self.prefix.with_name(f"{self.prefix.name}_iter_{self.iterations}.caffemodel")

    @property
    def log(self) -> Path:
        """Caffe's log, appended to by every run."""
        return self.prefix.with_name(f"{self.prefix.name}.log")

    def snapshots(self) -> list[tuple[int, Path]]:
        """Iteration and weights of every snapshot, the oldest first.

        Caffe writes the solver state after the weights: if there is a state, the weights
        are complete.
        """
        pattern = re.compile(re.escape(self.prefix.name) + r"_iter_(\d+)\.caffemodel")
        return sorted(
            (int(match[1]), path)
            for path in self.prefix.parent.glob(f"{self.prefix.name}_iter_*.caffemodel")
            if (match := pattern.fullmatch(path.name)) and path.with_suffix(".solverstate").exists()
        )

    def last_snapshot(self) -> tuple[int, Path] | None:
        """Iteration and solver state of the newest snapshot that is complete, if any."""
        for iteration, weights in reversed(self.snapshots()):
            state = weights.with_suffix(".solverstate")
            if is_whole(state):
                return iteration, state
        return None

    @property
    def finished(self) -> bool:
        """Whether there is a complete snapshot of the last iteration."""
        last = self.last_snapshot()
        return last is not None and last[0] >= self.iterations


def stages_of(net: str) -> list[Stage]:
    """The stages of a net of `RECIPES`."""
    return [Stage.read(ROOT / f"solver/{solver}") for solver in RECIPES[net]]


def databases(net: Path) -> list[Path]:
    """Databases that a net definition reads, as paths relative to the checkout."""
    return [Path(source) for source in re.findall(r'source: "([^"]+)"', net.read_text())]


def _command_for(source: Path) -> str:
    """What writes a database that a net reads."""
    if source.parent == Path(PORTRAIT_PREPARED):
        return "make data DATASET=data/portrait_set"
    return "make data"


def check_databases(net: Path) -> None:
    """Refuse databases with which Caffe would abort and print a stack trace.

    Raises
    ------
    InputError
        If a database that the net reads is missing, empty, damaged or cut short.
    """
    for source in databases(net):
        command = _command_for(source)
        with open_database(ROOT / source, command) as database:
            if database.stat()["entries"] == 0:
                raise InputError(f"{source} is empty; write the databases with `{command}`.")


def run_stage(stage: Stage, weights: Path | None) -> None:
    """Run `caffe train` to the end of a stage, with a progress bar.

    Raises
    ------
    InputError
        If Caffe fails or is stopped before the last iteration (the reason and the log
        are named), or the chosen GPU is not there.
    """
    start, command = 0, [caffe_program(), "train", "-solver", str(stage.solver)]
    if (gpu := chosen_gpu()) is not None:
        command += ["-gpu", str(gpu)]  # overrules the solver file's solver_mode
    if snapshot := stage.last_snapshot():
        start, state = snapshot
        command += ["-snapshot", str(state)]
    elif weights:
        command += ["-weights", str(weights)]
    stage.prefix.parent.mkdir(parents=True, exist_ok=True)
    # Caffe logs the values that we plot at level 0, which our programs silence.
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    with (
        open(stage.log, "a", buffering=1) as log,
        tqdm(total=stage.iterations, initial=start, desc=stage.prefix.name, unit="it") as bar,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as caffe,
    ):
        for line in caffe.stdout:
            log.write(line)
            last_lines.append(line)
            match = ITERATION.search(line)
            if match and (loss := LOSS.search(match["rest"])):
                bar.update(int(match["iteration"]) - bar.n)
                bar.set_postfix(loss=loss["value"])
        if caffe.wait() == 0:
            bar.update(stage.iterations - bar.n)
    if -caffe.returncode in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP):
        name = signal.Signals(-caffe.returncode).name
        raise InputError(
            f"Training was killed by {name}; the same command continues from the last snapshot "
            f"(whole log: {stage.log})."
        )
    if caffe.returncode:
        reason = failure_reason(last_lines, caffe.returncode)
        raise InputError(f"Training stopped: {reason} (whole log: {stage.log}).")
    if not stage.finished:  # on SIGINT, Caffe writes a snapshot and ends with status 0
        raise InputError(
            f"Training was stopped before iteration {stage.iterations}; the same command "
            f"continues from the last snapshot (whole log: {stage.log})."
        )


def run_stages(stages: Sequence[Stage]) -> Stage:
    """Run the unfinished stages of a training, each from the result of the one before.

    Parameters
    ----------
    stages : sequence of Stage
        In order; the first one's solver file names the weights to start from.

    Returns
    -------
    Stage
        The last one.
    """
    weights = None
    for stage in stages:
        check_databases(stage.net)
        if not stage.finished:
            run_stage(stage, weights)
        weights = stage.result
    return stages[-1]


def keep_files(sources: Mapping[Path, Path]) -> None:
    """Copy files that a training made, each completely or not at all.

    An existing file with another content is moved aside, and a warning says where it is.

    Parameters
    ----------
    sources : mapping
        The file to copy, by the path of its copy.

    Raises
    ------
    InputError
        If one cannot be written.
    """
    for target, source in sources.items():
        with atomic_write_keeping(target) as scratch:
            shutil.copyfile(source, scratch)
