"""How long `prepare` takes and where the time goes, measured.

    python -m data_prep.bench_prepare [--dataset data/sample] [--records 500]
        [--workers 2] [--full 22100]

Prepares a dataset of copies of the given portraits in a temporary folder: under
a profiler, in one process, and with workers.  Prints the share of the time that
image libraries take, the gain by the workers, and what a full set would take.
"""

from __future__ import annotations

import argparse
import contextlib
import cProfile
import io
import os
import pstats
import shutil
import tempfile
import time
from pathlib import Path

import cv2

from data_prep.alpha_distribution import draw_alpha_distribution
from data_prep.augmentation import AUGMENTATIONS
from data_prep.databases import SPLITS, database_paths
from data_prep.dataset import Dataset, write_lists
from data_prep.errors import InputError, run_program
from data_prep.parallel import available_workers
from data_prep.prepare import prepare

# Builtins as the profiler names them: image coding by Pillow, and dlib's detector.
# OpenCV's are recognized by their names.
LIBRARIES = ("Imaging", "dlib")
# The profiler does not see calls of dlib's objects: it counts them to the methods
# that make them, which do little else.
DLIB_CALLERS = {("landmarks.py", "__init__"), ("landmarks.py", "detect")}
PLOT = draw_alpha_distribution.__name__
LONGEST = 12  # lines of the profile that are printed


def repeat_dataset(dataset: Dataset, portraits: int, folder: Path) -> None:
    """A dataset of so many training portraits, links to those of another; one test."""
    names = []
    for part in ("images", "mattes"):
        (folder / part).mkdir(parents=True)
    for i in range(portraits + 1):
        source = dataset.train[i % len(dataset.train)]
        names.append(f"p{i:05d}")
        for part, path in (("images", source.photo), ("mattes", source.matte)):
            (folder / part / f"{names[-1]}{path.suffix}").symlink_to(path.absolute())
    write_lists(folder, names[:-1], names[-1:])


def timed_run(folder: Path, out: Path, workers: int) -> float:
    """Seconds of one `prepare` without its output."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        prepare(folder, out, 0, AUGMENTATIONS, workers)
    return time.perf_counter() - start


def is_image_work(function: tuple[str, int, str]) -> bool:
    """Whether a function of a profile belongs to OpenCV, dlib or Pillow's coders."""
    file, _, name = function
    if file != "~":  # Python code
        return (Path(file).name, name) in DLIB_CALLERS
    opencv = hasattr(cv2, name.strip("<>{}").removeprefix("built-in method ").split(".")[-1])
    return opencv or any(library in name for library in LIBRARIES)


def print_profile(profile: cProfile.Profile) -> None:
    """Share of image work, and the functions that took longest.

    The plot of p(alpha), which takes the same for any collection, does not count.
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
    parser.add_argument("--dataset", type=Path, default=Path("data/sample"))
    parser.add_argument("--records", type=int, default=500)
    parser.add_argument("--workers", type=int, default=max(2, available_workers()))
    parser.add_argument("--full", type=int, default=22_100, help="records to estimate for")
    options = parser.parse_args(argv)
    for name, least in (("records", 1), ("workers", 2), ("full", 1)):
        value = getattr(options, name)
        if value < least:
            raise InputError(f"--{name} {value} is too few; give {least} or more.")
    dataset = Dataset.open(options.dataset)
    portraits = -(-options.records // len(AUGMENTATIONS))
    count = portraits * len(AUGMENTATIONS)
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = Path(scratch, "dataset"), Path(scratch, "prepared")
        repeat_dataset(dataset, portraits, folder)
        # Wall clock: to ask for the processor's time takes longer than a small function.
        profile = cProfile.Profile()
        profile.enable()
        timed_run(folder, out, workers=1)
        profile.disable()
        print_profile(profile)
        seconds = {}
        for workers in (1, options.workers):
            shutil.rmtree(out)
            seconds[workers] = timed_run(folder, out, workers)
            size = disk_size(out)
            full = options.full / count
            print(
                f"{workers} worker{'s' * (workers > 1)}: {count} training records in "
                f"{seconds[workers]:.1f} s, {count / seconds[workers]:.1f} records/s; "
                f"{options.full:,} would take {full * seconds[workers] / 60:.1f} minutes "
                f"and {full * size / 1e9:.2f} GB"
            )
    print(
        f"{options.workers} workers are {seconds[1] / seconds[options.workers]:.2f} times "
        f"as fast as 1, on {os.cpu_count()} processors"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
