#!/usr/bin/env python3
"""Train a net: warm start, then end to end, with `caffe train`.

    tools/train.py lite            # minutes on a laptop, on the sample
    tools/train.py fcn8s           # the paper's net: days without a GPU
    tools/train.py portrait        # the default model's: hours, on rendered portraits

Stops and starts as you like: a stage that has finished is skipped, one that
was interrupted goes on from its last snapshot.  Ends with the weights where
tools/matte.py looks for them (data/models/ or, small enough to be committed,
data/weights/), beside them the shape mask they were trained with, and a picture
of the run in out/.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import lmdb
from tqdm import tqdm

from data_prep.errors import InputError, run_program
from data_prep.images import atomic_write
from tools.models import MODELS
from tools.plot_training import ITERATION, LOSS
from tools.plot_training import main as plot_training

ROOT = Path(__file__).resolve().parent.parent
#: Solver files of a net's stages, in order.
RECIPES = {
    "lite": ("lite_trimap_solver.prototxt", "lite_matting_solver.prototxt"),
    "fcn8s": ("trimap_solver.prototxt", "matting_solver.prototxt"),
    "portrait": ("portrait_trimap_solver.prototxt", "portrait_matting_solver.prototxt"),
}


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

    def last_snapshot(self) -> tuple[int, Path] | None:
        """Iteration and file of the newest complete snapshot."""
        pattern = re.compile(re.escape(self.prefix.name) + r"_iter_(\d+)\.solverstate")
        found = [
            (int(match[1]), path)
            for path in self.prefix.parent.glob(f"{self.prefix.name}_iter_*.solverstate")
            if (match := pattern.fullmatch(path.name)) and path.with_suffix(".caffemodel").exists()
        ]
        return max(found, default=None)


def databases(net: Path) -> list[Path]:
    """The databases that a net definition reads, as they are written there."""
    return [Path(source) for source in re.findall(r'source: "([^"]+)"', net.read_text())]


def check_databases(net: Path) -> None:
    """Refuse what would make Caffe abort with a stack trace.

    Raises
    ------
    InputError
        If a database that the net reads is missing or empty.
    """
    for source in databases(net):
        folder = ROOT / source
        if not (folder / "data.mdb").is_file():
            raise InputError(f"{source} does not exist; write the databases with 'make data'.")
        with lmdb.open(str(folder), readonly=True, lock=False) as database:
            if database.stat()["entries"] == 0:
                raise InputError(f"{source} is empty; write the databases with 'make data'.")


def run_stage(stage: Stage, weights: Path | None) -> None:
    """Run `caffe train` to the end of a stage, with a progress bar.

    Raises
    ------
    InputError
        If Caffe fails; its last words and the log are named.
    """
    start, command = 0, [str(Path(sys.prefix, "bin/caffe")), "train", "-solver", str(stage.solver)]
    if snapshot := stage.last_snapshot():
        start, state = snapshot
        command += ["-snapshot", str(state)]
    elif weights:
        command += ["-weights", str(weights)]
    stage.prefix.parent.mkdir(parents=True, exist_ok=True)
    # Caffe logs what we plot at level 0; our own tools silence it.
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    last_line = ""
    with (
        open(stage.log, "a", buffering=1) as log,
        tqdm(total=stage.iterations, initial=start, desc=stage.prefix.name, unit="it") as bar,
        subprocess.Popen(
            command, cwd=ROOT, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as caffe,
    ):  # fmt: skip
        for line in caffe.stdout:
            log.write(line)
            last_line = line.strip() or last_line
            match = ITERATION.search(line)
            if match and (loss := LOSS.search(match["rest"])):
                bar.update(int(match["iteration"]) - bar.n)
                bar.set_postfix(loss=loss["value"])
        if caffe.wait() == 0:
            bar.update(stage.iterations - bar.n)
    if caffe.returncode:
        raise InputError(f"Training stopped: {last_line} (whole log: {stage.log}).")


def main(argv: list[str] | None = None) -> int:
    """Train all stages of a net and install the result."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("net", choices=RECIPES)
    net = parser.parse_args(argv).net
    stages = [Stage.read(ROOT / f"solver/{solver}") for solver in RECIPES[net]]
    weights = None  # the first stage's solver names its own
    for stage in stages:
        check_databases(stage.net)
        if not stage.result.exists():
            run_stage(stage, weights)
        weights = stage.result

    model = MODELS[net]
    for source, target in (
        (stages[0].result, ROOT / f"data/models/{net}_warm.caffemodel"),
        (stages[-1].result, model.weights),
        (ROOT / databases(stages[-1].net)[0].parent / "shape_mask.npz", model.shape_mask),
    ):
        with atomic_write(target) as path:
            shutil.copyfile(source, path)
    plot_training([*(str(stage.log) for stage in stages), "-o", f"out/{net}_training.png"])
    print(f"wrote {model.weights}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
