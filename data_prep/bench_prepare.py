"""How long `prepare` takes and where the time goes, measured.

    .venv/bin/python -m data_prep.bench_prepare [--dataset data/sample] [--records 500]
        [--workers 2] [--full 22100]

Prepares datasets of copies of the given portraits in a temporary folder.  First under
a profiler, in one process: the share of the time that image libraries take.  Then by
the command that a user gives, with one worker and with several, once for a single
portrait and once for all: what a further record takes, the gain by the workers, and
what a full set would take.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import cv2

from data_prep.caffe_data.alpha_distribution import draw_alpha_distribution
from data_prep.caffe_data.augmentation import AUGMENTATIONS
from data_prep.caffe_data.databases import SPLITS, database_paths
from data_prep.caffe_data.products import prepare
from data_prep.common.errors import InputError, run_program
from data_prep.common.options import count, integer_from, named_path
from data_prep.common.parallel import available_workers
from data_prep.datasets.dataset import Dataset, write_lists

# Builtins as the profiler names them: image coding by Pillow, and dlib's detector.
# OpenCV's are recognized by their names.
LIBRARIES = ("Imaging", "dlib")
# The profiler does not see calls of dlib's objects: it counts them to the methods
# that make them, which do little else.
DLIB_CALLERS = {("landmarks.py", "__init__"), ("landmarks.py", "_faces")}
PLOT = draw_alpha_distribution.__name__
REPOSITORY = Path(__file__).parents[1]
LONGEST = 12  # lines of the profile that are printed


def repeat_dataset(dataset: Dataset, portraits: int, folder: Path) -> None:
    """Link a dataset's portraits into another, repeating them; one is a test portrait."""
    names = []
    for part in ("images", "mattes"):
        (folder / part).mkdir(parents=True)
    sources = [dataset.train[i % len(dataset.train)] for i in range(portraits)]
    for i, source in enumerate([*sources, dataset.test[0]]):
        names.append(f"p{i:05d}")
        for part, path in (("images", source.photo), ("mattes", source.matte)):
            (folder / part / f"{names[-1]}{path.suffix}").symlink_to(path.absolute())
    write_lists(folder, names[:-1], names[-1:])


class Run(NamedTuple):
    """One measured run: how many training records it made, and in how many seconds."""

    records: int
    seconds: float


def timed_command(folder: Path, out: Path, workers: int) -> float:
    """Seconds of `prepare` in a process of its own, start of Python included.

    Raises
    ------
    InputError
        If it fails.
    """
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "data_prep.prepare", "--workers", str(workers)]
    command += ["--dataset", str(folder), "--out", str(out)]
    start = time.perf_counter()
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if run.returncode != 0:
        raise InputError(f"{' '.join(command)} failed: {run.stderr.strip()}")
    return seconds


def extrapolate(small: Run, large: Run, records: int) -> float:
    """Seconds for `records` records: start-up and each further record take what they took."""
    slope = (large.seconds - small.seconds) / (large.records - small.records)
    return small.seconds + slope * (records - small.records)


def profiled(folder: Path, warm: Path, out: Path) -> cProfile.Profile:
    """Profile of `prepare` on `folder` in this process.

    What is loaded only once (modules, the landmark model) is loaded before, by a run
    on the dataset `warm`.
    """
    # Wall clock: reading the processor's time takes longer than a small function.
    profile = cProfile.Profile()
    prepare(warm, out, seed=0)
    shutil.rmtree(out)
    profile.runcall(prepare, folder, out, seed=0)
    return profile


def is_image_work(function: tuple[str, int, str]) -> bool:
    """Whether a function of a profile belongs to OpenCV, dlib or Pillow's coders."""
    file, _, name = function
    if file != "~":  # Python code
        return (Path(file).name, name) in DLIB_CALLERS
    opencv = hasattr(cv2, name.strip("<>{}").removeprefix("built-in method ").split(".")[-1])
    return opencv or any(library in name for library in LIBRARIES)


def print_profile(profile: cProfile.Profile) -> None:
    """Share of image work, and the functions that took longest.

    The plot of p(alpha) does not count: it takes as long for any collection.
    """
    stats = pstats.Stats(profile).stats
    rows = {function: row[2:4] for function, row in stats.items()}  # own, with callees
    own = {function: row[0] for function, row in rows.items()}
    plot = sum(row[1] for (_, _, name), row in rows.items() if name == PLOT)
    total = sum(own.values()) - plot
    share = sum(seconds for function, seconds in own.items() if is_image_work(function))
    print(f"OpenCV, dlib and image coding: {share / total:.1%} of {total:.1f} s")
    for function in sorted(own, key=own.get, reverse=True)[:LONGEST]:
        mark = "*" if is_image_work(function) else " "
        print(f"  {own[function] / total:6.1%} {mark} {pstats.func_std_string(function)}")


def disk_size(out: Path) -> int:
    """Bytes of all databases."""
    paths = [path for split in SPLITS for path in database_paths(out, split)]
    return sum((path / "data.mdb").stat().st_size for path in paths)


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dataset", type=named_path, default=Path("data/sample"))
    parser.add_argument("--records", type=count, default=500)
    parser.add_argument("--workers", type=integer_from(2), default=max(2, available_workers()))
    parser.add_argument("--full", type=count, default=22_100, help="records to estimate for")
    options = parser.parse_args(argv)
    dataset = Dataset.open(options.dataset)
    versions = len(AUGMENTATIONS)
    portraits = max(2, -(-options.records // versions))
    with tempfile.TemporaryDirectory() as scratch:
        single, whole, out = (Path(scratch, name) for name in ("single", "whole", "prepared"))
        repeat_dataset(dataset, 1, single)
        repeat_dataset(dataset, portraits, whole)
        print_profile(profiled(whole, single, out))
        measured, projected = {}, {}
        for workers in (1, options.workers):
            small = Run(versions, timed_command(single, out, workers))
            large = Run(versions * portraits, timed_command(whole, out, workers))
            measured[workers] = large.seconds
            projected[workers] = extrapolate(small, large, options.full)
            size = disk_size(out) * options.full / large.records
            print(
                f"{workers} worker{'s' * (workers > 1)}: {small.records} training records in "
                f"{small.seconds:.1f} s, {large.records} in {large.seconds:.1f} s; "
                f"{options.full:,} would take {projected[workers] / 60:.1f} minutes "
                f"and {size / 1e9:.2f} GB"
            )
    gains = [times[1] / times[options.workers] for times in (measured, projected)]
    print(
        f"{options.workers} workers are {gains[0]:.2f} times as fast as 1 with "
        f"{versions * portraits} records, {gains[1]:.2f} times with {options.full:,}, "
        f"on {os.cpu_count()} processors"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
