"""Errors and speed of the cut-outs of tools/matte.py.

    .venv/bin/python -m tools.benchmarks.mattes quality   # errors on the rendered test portraits
    .venv/bin/python -m tools.benchmarks.mattes speed     # seconds and memory, cold and warm
    .venv/bin/python -m tools.benchmarks.mattes readme    # puts both into docs/benchmark.md

Results are kept in docs/matte_bench.json.  Quality is measured on portraits
whose mattes and foreground colors are known, against the mask of the raw
segmenter, GrabCut from that mask with the closed-form matte of its border,
and, as the bound of any trimap head, our solve of the true trimap.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.common.errors import run_program
from data_prep.common.images import read_photo, write_image
from data_prep.common.options import count, positive
from data_prep.datasets.dataset import Dataset
from tools.benchmarks.own_process import run_alone
from tools.evaluation.estimates import Errors, estimates
from tools.evaluation.methods import bound_matte, grabcut_matte
from tools.evaluation.portraits import ground_truths
from tools.evaluation.report import (
    BENCHMARK,
    COLUMNS,
    describe_machine,
    markdown_table,
    peak_bytes,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.matting.models import ROOT
from tools.matting.session import MattingSession

RESULTS = ROOT / "docs/matte_bench.json"
SECTION, COMMAND = "matte-bench", "make matte-bench"  # the section of docs/benchmark.md
SAMPLE = ROOT / "data/sample"
OURS, RAW, GRABCUT, BOUND = (
    "ours",
    "raw mask of the segmenter",
    "GrabCut + closed-form",
    "true trimap + our solve (bound)",
)

#: (H, W) of the photos in the speed table.
SIZES = ((800, 600), (4000, 3000), (8000, 6250))
WARM_ROUNDS = 5


# --- quality ----------------------------------------------------------------------


def color_error(colors: np.ndarray, true_colors: np.ndarray, truth: np.ndarray) -> float:
    """Mean absolute difference on the fractional pixels, in gray levels of 255."""
    fractional = (truth > 0) & (truth < 1)
    difference = colors[fractional].astype(float) - true_colors[fractional]
    return float(np.abs(difference).mean())


def measure_quality() -> dict:
    """Errors of every method on every test portrait, and those of the colors."""
    session, segmenter = MattingSession(), MattingSession("selfie")
    portraits = Dataset.open(SAMPLE).test
    errors: dict[str, Errors] = {name: {} for name in (RAW, GRABCUT, OURS, BOUND)}
    colors: dict[str, list[float]] = {"photo": [], "recovered": []}
    for truth in ground_truths(tqdm(portraits, "portraits")):
        photo, stem = truth.photo, truth.portrait.stem
        mask, matte = segmenter.segment(photo), session.matte(photo)
        mattes = {
            RAW: mask,
            GRABCUT: grabcut_matte(photo, mask),
            OURS: matte.alpha,
            BOUND: bound_matte(photo, truth.alpha),
        }
        for name, alpha in mattes.items():
            errors[name][stem] = truth.errors_of(alpha)
        true_colors = read_photo(SAMPLE / "foregrounds" / f"{stem}.png")
        colors["photo"].append(color_error(photo, true_colors, truth.alpha))
        colors["recovered"].append(color_error(matte.foreground, true_colors, truth.alpha))
    means = {
        name: {measure: each.mean for measure, each in estimates(by_stem).items()}
        for name, by_stem in errors.items()
    }
    color = {name: statistics.fmean(values) for name, values in colors.items()}
    return {
        "machine": describe_machine(),
        "portraits": [portrait.stem for portrait in portraits],
        "errors": means,
        "color": color,
        "reductions": reductions(means, color),
    }


def reductions(errors: dict[str, dict[str, float]], color: dict[str, float]) -> dict[str, float]:
    """By which share our errors are below those of the raw mask and of the photo's colors."""
    result = {
        measure: 1 - errors[OURS][measure] / errors[RAW][measure]
        for measure in ("sad", "dapm_gradient")
    }
    return result | {"color": 1 - color["recovered"] / color["photo"]}


# --- speed ------------------------------------------------------------------------


def enlarged_portrait(shape: tuple[int, int]) -> np.ndarray:
    """The first training portrait of the sample, resized to a shape (H, W)."""
    photo = read_photo(Dataset.open(SAMPLE).train[0].photo)
    return cv2.resize(photo, shape[::-1], interpolation=cv2.INTER_CUBIC)


def time_warm(shape: tuple[int, int], rounds: int) -> dict:
    """Time matte and colors of one photo in this process, after one matte that does not count."""
    photo = enlarged_portrait(shape)
    session = MattingSession()
    session.matte(enlarged_portrait(SIZES[0])).foreground  # noqa: B018
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        session.matte(photo).foreground  # noqa: B018
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "peak_bytes": peak_bytes()}


def time_cold(shape: tuple[int, int], rounds: int) -> dict:
    """Time tools/matte.py from the start of its process to the end of writing its files."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder, "photo.jpg")
        write_image(photo, enlarged_portrait(shape))
        for round_ in range(rounds):
            command = [sys.executable, "-m", "tools.matte", photo, "-o", f"{folder}/{round_}"]
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    return {"seconds": seconds}


def measure_speed(sizes: list[tuple[int, int]]) -> dict:
    """Warm times by size, each in a process of its own, and the cold time of the first."""
    warm = []
    for height, width in tqdm(sizes, "sizes"):
        rounds = WARM_ROUNDS if height * width < 2e6 else 1
        result = run_alone("tools.benchmarks.mattes", "warm", height, width, rounds)
        warm.append({"height": height, "width": width, **result})
    return {"machine": describe_machine(), "cold": time_cold(SIZES[0], 3), "warm": warm}


# --- reporting --------------------------------------------------------------------


def quality_text(report: dict) -> str:
    """Errors of the mattes and of the colors, in Markdown."""
    machine, gains, color = report["machine"], report["reductions"], report["color"]
    rows = [
        [name, *(f"{values[column.measure] / column.unit:.2f}" for column in COLUMNS)]
        for name, values in report["errors"].items()
    ]
    return "\n\n".join(
        [
            f"Mattes of the {len(report['portraits'])} rendered test portraits, means "
            f"({machine['date']}):",
            markdown_table(["", *(column.heading for column in COLUMNS)], rows),
            f"Against the raw mask, SAD is {gains['sad']:.0%} and the gradient error "
            f"{gains['dapm_gradient']:.0%} lower. The recovered foreground colors are off by "
            f"{color['recovered']:.1f} gray levels on fractional pixels, the photo's own by "
            f"{color['photo']:.1f} ({gains['color']:.0%} less).",
        ]
    )


def speed_text(report: dict) -> str:
    """Seconds and memory by size, in Markdown."""
    machine = report["machine"]
    heading = (
        f"Matte and colors of a portrait, on {machine['cores']} cores of an "
        f"{machine['processor']} ({machine['date']}):"
    )
    rows = []
    for each in report["warm"]:
        megapixels = each["height"] * each["width"] / 1e6
        rows.append(
            [
                f"{each['width']} x {each['height']} ({megapixels:.1f} megapixels)",
                f"{statistics.median(each['seconds']):.2f}",
                f"{each['peak_bytes'] / 2**30:.1f} GiB",
            ]
        )
    cold = statistics.median(report["cold"]["seconds"])
    width, height = SIZES[0][::-1]
    rows.append([f"{width} x {height}, cold: from the command to the files", f"{cold:.2f}", ""])
    return f"{heading}\n\n{markdown_table(['', 'seconds', 'peak memory'], rows)}"


def mattes_section(report: dict) -> str:
    """Section of docs/benchmark.md, in Markdown; parts that were not measured are omitted."""
    parts = (("quality", quality_text), ("speed", speed_text))
    return "\n\n".join(write(report[name]) for name, write in parts if name in report)


def read_results() -> dict:
    """Content of docs/matte_bench.json; empty if the file does not exist."""
    return json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}


def keep(part: str, report: dict) -> None:
    """Replace one part of docs/matte_bench.json."""
    write_report(RESULTS, read_results() | {part: report})


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("quality", help="mattes and colors of the test portraits")
    speed = commands.add_parser("speed", help="seconds and memory by size")
    speed.add_argument("--largest", type=positive, default=50.0, help="megapixels")
    commands.add_parser("readme", help=f"put both into {shown(BENCHMARK)}")
    warm = commands.add_parser("warm", help="one size in this process, as JSON")
    for name in ("height", "width", "rounds"):
        warm.add_argument(name, type=count)
    options = parser.parse_args(argv)
    if options.command == "quality":
        keep("quality", measure_quality())
        print(quality_text(read_results()["quality"]))
    elif options.command == "speed":
        keep("speed", measure_speed([s for s in SIZES if s[0] * s[1] <= options.largest * 1e6]))
        print(speed_text(read_results()["speed"]))
    elif options.command == "warm":
        print(json.dumps(time_warm((options.height, options.width), options.rounds)))
    else:
        report = read_report(RESULTS, COMMAND)
        renew_section(BENCHMARK, SECTION, COMMAND, mattes_section(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
