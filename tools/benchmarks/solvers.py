"""Measure the matting core against everything else that solves the same systems.

    python -m tools.benchmarks.solvers run [--quick]  measure, into docs/bench.json and bench.png
    python -m tools.benchmarks.solvers readme         put the tables into docs/benchmark.md

All contenders run in one process, in turn, on the same matrices D and the same
two right-hand sides (forward and adjoint), repeatedly; the figures are medians
with their spread.  Every solution must reach a true relative residual of 1e-8.
Peak memory is measured in a process of its own for every size.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pymatting
import scipy.sparse as sp
from scipy.sparse.linalg import spsolve
from tqdm import tqdm

from caffe_layers.laplacian import matting_laplacian
from caffe_layers.linear_solver import (
    RESIDUAL_TOLERANCE,
    HybridSolver,
    LinearSolver,
    PardisoSolver,
    euclidean_norm,
)
from caffe_layers.matting_system import MattingSystem, matting_system
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import read_matte, read_photo
from data_prep.datasets.dataset import Dataset
from prototxt.catalog import NETS
from tools.evaluation.report import (
    BENCHMARK,
    describe_machine,
    read_report,
    renew_section,
    write_report,
)

LAMBDA = 100.0
RESULTS, CHART = Path("docs/bench.json"), Path("docs/bench.png")
SECTION, COMMAND = "bench", "make bench-readme"  # of docs/benchmark.md
# Threads of the contender before spin for up to 0.2 s (MKL's OpenMP).
SETTLE = 0.3
REPEATS, SECONDS = 5, 12.0  # at most so many rounds, and no further one after so long

#: (height, width)
SIZES = ((400, 300), (800, 600), (1600, 1200), (4000, 3000))
SHARES = (0.05, 0.15, 0.3, 0.5, 1.0)
MAIN_SIZE, MAIN_SHARE = (800, 600), 0.15
GROWTH_SIZES = ((800, 600), (1600, 1200), (2832, 2124), (4000, 3000), (5656, 4242))

# Whose versions the figures depend on.
PACKAGES = ("numpy", "scipy", "pypardiso", "mkl", "pymatting", "numba", "pyamg", "scikit-sparse")

OURS, TUNED = "hybrid (ours)", "PARDISO, tuned, analysis cached"


# --- systems --------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One matting system with two right-hand sides.

    Attributes
    ----------
    shape : (height, width)
    share : float
        Of unknown pixels.
    kind : {"trimap", "soft"}
        F and B are 0 and 1, or fall off smoothly as a net's do.
    photo : (H, W, 3) float64 ndarray
    system : MattingSystem
    rhs : pair of (H, W) float64 ndarray
        lambda F, and a random gradient.
    """

    shape: tuple[int, int]
    share: float
    kind: str
    photo: np.ndarray
    system: MattingSystem
    rhs: tuple[np.ndarray, np.ndarray]

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """D as other libraries take it."""
        return (self.system.laplacian.to_csr() + sp.diags(self.system.data.ravel())).tocsr()


def probabilities(matte: np.ndarray, share: float, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """F and B of which a share of the pixels, around the fractional ones, is unknown."""
    foreground = (matte >= 0.5).astype(float)
    if share >= 1:  # nothing certain, only a hint
        return 1e-4 * foreground, 1e-4 * (1 - foreground)
    fractional = (matte > 0) & (matte < 1)
    distance = cv2.distanceTransform((~fractional).astype(np.uint8), cv2.DIST_L2, 5)
    # Where they are more than the share, the most fractional ones are taken.
    distance[fractional] = np.abs(matte[fractional] - 0.5) - 0.5
    edge = np.quantile(distance, share)
    if kind == "trimap":
        known = (distance > edge).astype(float)
        return foreground * known, (1 - foreground) * known
    # Like a net's softmax: the certainty falls off over a quarter of the band.
    known = 1 / (1 + np.exp(-8 * (distance - edge) / max(edge, 1.0)))
    smooth = cv2.GaussianBlur(matte, (0, 0), matte.shape[0] / 200).clip(0.002, 0.998)
    return smooth * known, (1 - smooth) * known


def make_case(shape: tuple[int, int], share: float, kind: str = "trimap") -> Case:
    """A system of the first training portrait of the sample, resized."""
    portrait = Dataset.open(Path("data/sample"), seed=0).train[0]
    size = shape[::-1]
    photo = cv2.resize(read_photo(portrait.photo), size, interpolation=cv2.INTER_CUBIC) / 255
    matte = cv2.resize(read_matte(portrait.matte) / 255, size, interpolation=cv2.INTER_LINEAR)
    foreground, background = probabilities(matte, share, kind)
    system = matting_system(matting_laplacian(photo), foreground, background, LAMBDA)
    gradient = np.random.default_rng(0).normal(size=shape)
    return Case(shape, share, kind, photo, system, (LAMBDA * foreground, gradient))


# --- contenders -----------------------------------------------------------------

Solutions = tuple[np.ndarray, np.ndarray]


def by_solver(solver: LinearSolver) -> Callable[[Case], Solutions]:
    """Forward and adjoint with one of our solvers, its analysis done beforehand."""

    def solve(case: Case) -> Solutions:
        solver.factorise(case.system)
        return solver.solve(case.rhs[0]), solver.solve(case.rhs[1])

    return solve


def each_rhs(case: Case, solve: Callable[[np.ndarray], np.ndarray]) -> Solutions:
    """`solve`, which takes and gives flat vectors, for both right-hand sides."""
    first, second = (solve(rhs.ravel()).reshape(case.shape) for rhs in case.rhs)
    return first, second


def pypardiso_spsolve(case: Case) -> Solutions:
    import pypardiso

    solutions = each_rhs(case, lambda rhs: pypardiso.spsolve(case.matrix, rhs))
    pypardiso.ps.free_memory(everything=True)
    return solutions


def scipy_spsolve(case: Case) -> Solutions:
    matrix = case.matrix.tocsc()
    return each_rhs(case, lambda rhs: spsolve(matrix, rhs))


def pymatting_cg(preconditioner: Callable[[Case], object]) -> Callable[[Case], Solutions]:
    """PyMatting's conjugate gradients with one of its preconditioners."""

    def solve(case: Case) -> Solutions:
        approximate_inverse = preconditioner(case)
        # A little below the tolerance: theirs is not the true residual.
        return each_rhs(
            case,
            lambda rhs: pymatting.cg(
                case.matrix, rhs, M=approximate_inverse, rtol=0.9 * RESIDUAL_TOLERANCE
            ),
        )

    return solve


def pyamg_cg(case: Case) -> Solutions:
    import pyamg

    hierarchy = pyamg.smoothed_aggregation_solver(case.matrix)
    return each_rhs(
        case,
        lambda rhs: hierarchy.solve(rhs, tol=0.9 * RESIDUAL_TOLERANCE, accel="cg", maxiter=1000),
    )


def cholmod(case: Case) -> Solutions:
    from sksparse.cholmod import cholesky

    return each_rhs(case, cholesky(case.matrix.tocsc(), mode="supernodal"))


@dataclass(frozen=True)
class Contender:
    """A way to solve D x = b, and the largest systems it is asked for.

    Attributes
    ----------
    name : str
    solve : callable
    most_pixels, most_pixels_everywhere : int
        At the main share of unknown pixels, and at all the others.
    """

    name: str
    solve: Callable[[Case], Solutions]
    most_pixels: int
    most_pixels_everywhere: int = 0


def contenders() -> list[Contender]:
    """Everything that is compared."""
    small, middle, large = 500_000, 2_000_000, 13_000_000
    return [
        Contender(OURS, by_solver(HybridSolver()), large, large),
        Contender(TUNED, by_solver(PardisoSolver()), middle, middle),
        Contender("pypardiso.spsolve, twice", pypardiso_spsolve, small),
        Contender("CHOLMOD (scikit-sparse)", cholmod, middle),
        Contender(
            "PyMatting cg + ichol",
            pymatting_cg(lambda case: pymatting.ichol(case.matrix.tocsc())),
            middle,
            small,
        ),
        Contender(
            "PyMatting cg + jacobi", pymatting_cg(lambda case: pymatting.jacobi(case.matrix)), small
        ),
        Contender(
            "PyMatting cg + vcycle",
            pymatting_cg(lambda case: pymatting.vcycle(case.matrix, case.shape)),
            middle,
        ),
        Contender("pyamg cg + smoothed aggregation", pyamg_cg, small),
        Contender("scipy.sparse.linalg.spsolve", scipy_spsolve, small // 4),
    ]


# --- measuring ------------------------------------------------------------------


@dataclass
class Timing:
    """Seconds of several rounds, or why there are none."""

    seconds: list[float] = field(default_factory=list)
    residual: float = 0.0
    note: str = ""

    def add(self, function: Callable[[], object]) -> object:
        """Time one call and return what it returned."""
        start = time.perf_counter()
        result = function()
        self.seconds.append(time.perf_counter() - start)
        return result

    def as_json(self) -> dict:
        """What goes into docs/bench.json."""
        if self.note:
            return {"note": self.note}
        return {
            "median": statistics.median(self.seconds),
            "least": min(self.seconds),
            "most": max(self.seconds),
            "rounds": len(self.seconds),
            "residual": self.residual,
        }


def true_residual(case: Case, solutions: Solutions) -> float:
    """The larger relative residual |D x - b| / |b| of the two."""
    return max(
        euclidean_norm(case.system.apply(np.ascontiguousarray(x)) - b) / euclidean_norm(b)
        for x, b in zip(solutions, case.rhs, strict=True)
    )


def compare(case: Case, chosen: list[Contender], repeats: int) -> dict[str, dict]:
    """Rounds in which every contender has its turn, so that none has the quiet ones."""
    timings = {contender.name: Timing() for contender in chosen}
    for round_ in range(repeats + 1):
        for contender in chosen:
            timing = timings[contender.name]
            if timing.note or (sum(timing.seconds) > SECONDS):
                continue
            gc.collect()
            time.sleep(SETTLE)
            try:
                solutions = timing.add(functools.partial(contender.solve, case))
            except ImportError:
                timing.note = "not installed"
                continue
            except Exception as error:  # a contender's failure is a result
                timing.note = f"failed: {error}".splitlines()[0][:60]
                continue
            timing.residual = max(timing.residual, true_residual(case, solutions))
            if timing.residual > RESIDUAL_TOLERANCE:
                timing.note = f"stopped at a residual of {timing.residual:.0e}"
            # The first round compiles, analyses and touches fresh memory; it is
            # dropped unless it is so long that there will be no other.
            if round_ == 0 and timing.seconds[0] < SECONDS / 2:
                timing.seconds.clear()
    return {name: timing.as_json() for name, timing in timings.items()}


def compare_assembly(repeats: int) -> dict[str, dict]:
    """Matting Laplacian of the main size, ours against PyMatting's."""
    photo = make_case(MAIN_SIZE, MAIN_SHARE).photo
    ways = {
        OURS: lambda: matting_laplacian(photo),
        "ours, as a SciPy matrix": lambda: matting_laplacian(photo).to_csr(),
        "PyMatting cf_laplacian": lambda: pymatting.cf_laplacian(photo),
    }
    timings = {name: Timing() for name in ways}
    for round_ in range(repeats + 1):
        for name, way in ways.items():
            time.sleep(SETTLE)
            timings[name].add(way)
            if round_ == 0:
                timings[name].seconds.clear()
    return {name: timing.as_json() for name, timing in timings.items()}


def forward_alone(shape: tuple[int, int], repeats: int) -> dict:
    """Assembly and forward solve of one photo: seconds, and peak memory in bytes."""
    case = make_case(shape, MAIN_SHARE)
    foreground = case.rhs[0] / LAMBDA
    background = case.system.data / LAMBDA - foreground
    photo = case.photo
    del case
    timing = Timing()

    def forward() -> None:
        system = matting_system(matting_laplacian(photo), foreground, background, LAMBDA)
        solver = HybridSolver()
        solver.factorise(system)
        solver.solve(LAMBDA * foreground)

    for _ in range(repeats + 1):
        timing.add(forward)
    del timing.seconds[0]
    # Not getrusage: its peak is at least that of the process this was started by.
    peak = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return {**timing.as_json(), "peak_bytes": 1024 * int(peak[1])}


def measure_growth(repeats: int) -> list[dict]:
    """`forward_alone` for every size, each in a process of its own."""
    results = []
    for height, width in tqdm(GROWTH_SIZES, "growth"):
        output = subprocess.run(
            [
                sys.executable,
                "-m",
                "tools.benchmarks.solvers",
                "forward",
                str(height),
                str(width),
                str(repeats),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        results.append({"height": height, "width": width, **json.loads(output)})
    return results


def growth_exponent(results: list[dict], most_pixels: int = 12_000_000) -> float:
    """k of the power law time = n**k from the smallest size to `most_pixels`."""
    inside = [r for r in results if r["height"] * r["width"] <= most_pixels]
    pixels = [np.log(r["height"] * r["width"]) for r in (inside[0], inside[-1])]
    times = [np.log(r["median"]) for r in (inside[0], inside[-1])]
    return float((times[1] - times[0]) / (pixels[1] - pixels[0]))


def training_share(net: str, iterations: int) -> dict:
    """The matting layer's part of a training iteration, by `caffe time`."""
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    log = subprocess.run(
        [
            Path(sys.prefix, "bin/caffe"),
            "time",
            "-model",
            str(NETS[net].train_val),
            "-iterations",
            str(iterations),
            "-phase",
            "TRAIN",
        ],
        capture_output=True,
        text=True,
        env=environment,
    ).stderr
    layer = [float(ms) for ms in re.findall(r"\balpha\s+(?:forward|backward): ([\d.]+) ms", log)]
    whole = re.search(r"Average Forward-Backward: ([\d.]+) ms", log)
    if len(layer) != 2 or not whole:
        raise InputError(
            f"`caffe time` with the net {net} ended early; run `make data` first. "
            f"Its last words: {log.strip().splitlines()[-1:]}"
        )
    return {"layer_seconds": sum(layer) / 1e3, "iteration_seconds": float(whole[1]) / 1e3}


def run(quick: bool) -> None:
    """Measure everything and write the results."""
    repeats = 2 if quick else REPEATS
    report: dict = {"machine": describe_machine(PACKAGES), "assembly": compare_assembly(repeats)}
    print(json.dumps(report["machine"], indent=1))
    plan = [
        (shape, share, kind)
        for shape in (SIZES[:2] if quick else SIZES)
        for share in SHARES
        for kind in ("trimap", "soft")
        # The largest size at the main share alone.  A band as narrow as the
        # hair itself has no soft edge, and where nothing is known there is none.
        if (shape != SIZES[-1] or share == MAIN_SHARE)
        and (MAIN_SHARE <= share < 1 or kind == "trimap")
    ]
    report["systems"] = measure_systems(plan, repeats)
    report["growth"] = measure_growth(repeats)
    report["growth_exponent"] = growth_exponent(report["growth"])
    report["training"] = {net: training_share(net, n) for net, n in (("lite", 5), ("fcn8s", 1))}
    write_report(RESULTS, report)
    draw(report)
    print(table(report))


def measure_systems(plan: list[tuple[tuple[int, int], float, str]], repeats: int) -> list[dict]:
    """`compare` for every shape, share and kind of the plan."""
    everyone = contenders()
    results = []
    for shape, share, kind in tqdm(plan, "systems"):
        main = share == MAIN_SHARE and kind == "trimap"
        case = make_case(shape, share, kind)
        chosen = [
            c
            for c in everyone
            if np.prod(shape) <= (c.most_pixels if main else c.most_pixels_everywhere)
        ]
        times = compare(case, chosen, repeats)
        results.append(
            {"height": shape[0], "width": shape[1], "share": share, "kind": kind, "times": times}
        )
        tqdm.write(f"{shape[1]} x {shape[0]}, {share:.0%} unknown, {kind}")
        for name, timing in times.items():
            tqdm.write(f"  {name:34s} {_seconds(timing)}")
    return results


# --- telling --------------------------------------------------------------------


def _seconds(timing: dict) -> str:
    if "note" in timing:
        return timing["note"]
    spread = "" if timing["rounds"] == 1 else f" ({timing['least']:.3g}-{timing['most']:.3g})"
    return f"{timing['median']:.3g} s{spread}"


def find(report: dict, size: tuple[int, int], share: float, kind: str) -> dict[str, dict]:
    """Timings of one system of a report."""
    wanted = (*size, share, kind)
    for each in report["systems"]:
        if (each["height"], each["width"], each["share"], each["kind"]) == wanted:
            return each["times"]
    raise InputError(f"{RESULTS} has no system {wanted}; run `make bench` again.")


def table(report: dict) -> str:
    """The section of docs/benchmark.md, Markdown."""
    machine, assembly = report["machine"], report["assembly"]
    main = find(report, MAIN_SIZE, MAIN_SHARE, "trimap")
    ours = main[OURS]["median"]
    lines = [
        f"Measured {machine['date']} by `make bench` on {machine['cores']} cores of an "
        f"{machine['processor']}; medians (least-most), every solution at a true relative "
        "residual below 1e-8. Forward and adjoint solve, 600 x 800, 15 % unknown:",
        "",
        "| | seconds | ours is faster |",
        "|---|---|---|",
    ]
    for name, timing in main.items():
        ratio = "" if name == OURS or "note" in timing else f"{timing['median'] / ours:.1f} x"
        lines.append(f"| {name} | {_seconds(timing)} | {ratio} |")
    laplacian = assembly[OURS]["median"]
    theirs = assembly["PyMatting cf_laplacian"]["median"]
    lines += [
        "",
        f"The Laplacian of the same photo takes {1e3 * laplacian:.0f} ms, PyMatting's "
        f"{1e3 * theirs:.0f} ms ({theirs / laplacian:.1f} x).",
        "",
        "Against PARDISO with cached analysis, by size and share of unknown pixels "
        "(ours / PARDISO, seconds; PARDISO is not asked at 12 megapixels):",
        "",
        "| | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |",
        "|---" * (len(SHARES) + 1) + "|",
    ]
    for size in SIZES:
        for kind in ("trimap", "soft"):
            cells = []
            for share in SHARES:
                try:
                    times = find(report, size, share, kind)
                except InputError:
                    cells.append("")
                    continue
                pair = [times[n]["median"] for n in (OURS, TUNED) if n in times]
                cells.append(" / ".join(f"{seconds:.2f}" for seconds in pair))
            if any(cells):
                lines.append(f"| {size[1]} x {size[0]}, {kind} | " + " | ".join(cells) + " |")
    lines += ["", "Forward pass alone, Laplacian included, 15 % unknown:", ""]
    lines += ["| | seconds | peak memory |", "|---|---|---|"]
    for each in report["growth"]:
        megapixels = each["height"] * each["width"] / 1e6
        lines.append(
            f"| {megapixels:.1f} megapixels | {each['median']:.2f} | "
            f"{each['peak_bytes'] / 2**30:.1f} GiB |"
        )
    lines += [
        "",
        f"From 0.5 to 12 megapixels time grows as n^{report['growth_exponent']:.2f}. "
        "Of a training iteration from fresh weights the matting layer takes "
        + " and ".join(
            f"{each['layer_seconds']:.2f} of {each['iteration_seconds']:.1f} s ({net})"
            for net, each in report["training"].items()
        )
        + ".",
    ]
    lines += ["", "![Times by method, size and unknown share](bench.png)"]
    return "\n".join(lines)


def draw(report: dict) -> None:
    """Bars by method, lines by share, growth with size."""
    figure, (bars, shares, growth) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    main = find(report, MAIN_SIZE, MAIN_SHARE, "trimap")
    timed = {name: t["median"] for name, t in main.items() if "median" in t}
    bars.barh(list(timed)[::-1], list(timed.values())[::-1])
    bars.set(xscale="log", xlabel="seconds", title="forward + adjoint, 600 x 800, 15 % unknown")
    for name, style in ((OURS, "o-"), (TUNED, "s--")):
        for kind, color in (("trimap", "C0"), ("soft", "C1")):
            points = [
                (s["share"], s["times"][name]["median"])
                for s in report["systems"]
                if (s["height"], s["width"]) == MAIN_SIZE
                and (s["kind"] == kind or not MAIN_SHARE <= s["share"] < 1)
            ]
            shares.plot(*zip(*points, strict=True), style, color=color, label=f"{name}, {kind}")
    shares.set(xlabel="unknown share", ylabel="seconds", title="600 x 800", ylim=(0, None))
    shares.legend(fontsize=7)
    pixels = np.array([g["height"] * g["width"] for g in report["growth"]])
    growth.loglog(pixels / 1e6, [g["median"] for g in report["growth"]], "o-", label="seconds")
    growth.loglog(
        pixels / 1e6,
        [g["peak_bytes"] / 2**30 for g in report["growth"]],
        "s-",
        label="peak memory, GiB",
    )
    growth.set(
        xlabel="megapixels", title=f"forward alone, 15 % unknown: n^{report['growth_exponent']:.2f}"
    )
    growth.legend()
    with atomic_write(CHART) as scratch:
        figure.savefig(scratch, dpi=80, format="png")
    plt.close(figure)


def main(argv: list[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("run", help="measure")
    measuring.add_argument("--quick", action="store_true", help="two sizes, two rounds")
    commands.add_parser("readme", help=f"put the table into {BENCHMARK}")
    forward = commands.add_parser("forward", help="one forward pass in this process, as JSON")
    for name in ("height", "width", "repeats"):
        forward.add_argument(name, type=int)
    options = parser.parse_args(argv)
    if options.command == "run":
        run(options.quick)
    elif options.command == "forward":
        print(json.dumps(forward_alone((options.height, options.width), options.repeats)))
    else:
        renew_section(BENCHMARK, SECTION, COMMAND, table(read_report(RESULTS, "make bench")))
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
