"""Measure our linear solver against other methods that solve the same systems.

    .venv/bin/python -m tools.benchmarks.solvers run [--quick]   # writes docs/bench.{json,png}
    .venv/bin/python -m tools.benchmarks.solvers run --before ../earlier  # a built checkout
    .venv/bin/python -m tools.benchmarks.solvers readme          # and docs/benchmark.md

All methods run in one process, in turn, on the same matrices D and the same
two right-hand sides (forward and adjoint), repeatedly; the figures are medians
with their spread.  Every solution must reach a true relative residual of 1e-8.
Peak memory is measured in a process of its own for every size.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol, TypeVar

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
from caffe_layers.matting import solve_alpha
from caffe_layers.matting_system import MattingSystem, matting_system
from data_prep.common.errors import InputError, run_program
from data_prep.common.files import atomic_write
from data_prep.common.images import read_matte, read_photo
from data_prep.common.options import count, named_path
from data_prep.datasets.dataset import Dataset
from tools.benchmarks.own_process import run_alone
from tools.evaluation.report import (
    BENCHMARK,
    describe_machine,
    markdown_table,
    peak_bytes,
    read_report,
    renew_section,
    shown,
    write_report,
)
from tools.matting.models import ROOT

LAMBDA = 100.0
RESULTS, CHART = ROOT / "docs/bench.json", ROOT / "docs/bench.png"
SECTION, COMMAND = "bench", "make bench-readme"  # the section of docs/benchmark.md
# Pause in seconds before a method is timed: the threads of the one before it keep spinning
# for up to 0.2 s (OpenMP of MKL).
SETTLE = 0.3
# Largest number of rounds, and the time in seconds after which a method gets no further one.
REPEATS, SECONDS = 5, 12.0

#: (H, W)
SIZES = ((400, 300), (800, 600), (1600, 1200), (4000, 3000))
SHARES = (0.05, 0.15, 0.3, 0.5, 1.0)
MAIN_SIZE, MAIN_SHARE = (800, 600), 0.15
GROWTH_SIZES = (
    (400, 300),
    (800, 600),
    (1600, 1200),
    (2832, 2124),
    (4000, 3000),
    (5656, 4242),
    (8165, 6124),
)
#: Largest number of pixels for an earlier version: it takes 10 GiB for them.
MOST_PIXELS_BEFORE = 25_000_000

# Packages whose versions the figures depend on.
PACKAGES = ("numpy", "scipy", "pypardiso", "mkl", "pymatting", "numba", "pyamg", "scikit-sparse")

OURS, TUNED = "hybrid (ours)", "PARDISO, tuned, analysis cached"


# --- systems --------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One matting system with two right-hand sides.

    Attributes
    ----------
    shape : (H, W)
    share : float
        Share of unknown pixels.
    kind : {"trimap", "soft"}
        Whether F and B are 0 and 1, or fall off smoothly as the outputs of a net.
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
        """D in the format of other libraries."""
        return (self.system.laplacian.to_csr() + sp.diags(self.system.data.ravel())).tocsr()


def probabilities(matte: np.ndarray, share: float, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """F and B with a given share of unknown pixels, which lie around the fractional ones.

    Parameters
    ----------
    matte : (H, W) float ndarray
        In [0, 1].
    share : float
        In (0, 1].
    kind : {"trimap", "soft"}
        See `Case`.
    """
    foreground = (matte >= 0.5).astype(float)
    if share >= 1:  # nothing certain, only a hint
        return 1e-4 * foreground, 1e-4 * (1 - foreground)
    fractional = (matte > 0) & (matte < 1)
    distance = cv2.distanceTransform((~fractional).astype(np.uint8), cv2.DIST_L2, 5)
    # If there are more fractional pixels than that, those nearest to 0.5 are unknown.
    distance[fractional] = np.abs(matte[fractional] - 0.5) - 0.5
    edge = np.quantile(distance, share)
    if kind == "trimap":
        known = (distance > edge).astype(float)
        return foreground * known, (1 - foreground) * known
    # Like a net's softmax: the certainty falls off over a quarter of the band.
    known = 1 / (1 + np.exp(-8 * (distance - edge) / max(edge, 1.0)))
    smooth = cv2.GaussianBlur(matte, (0, 0), matte.shape[0] / 200).clip(0.002, 0.998)
    return smooth * known, (1 - smooth) * known


def portrait_of(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Photo and matte, in [0, 1], of the sample's first training portrait, resized to (H, W)."""
    portrait = Dataset.open(ROOT / "data/sample", seed=0).train[0]
    size = shape[::-1]
    photo = cv2.resize(read_photo(portrait.photo), size, interpolation=cv2.INTER_CUBIC) / 255
    matte = cv2.resize(read_matte(portrait.matte) / 255, size, interpolation=cv2.INTER_LINEAR)
    return photo, matte


def make_case(shape: tuple[int, int], share: float, kind: str = "trimap") -> Case:
    """System of the portrait of a shape (H, W), see `portrait_of`."""
    photo, matte = portrait_of(shape)
    foreground, background = probabilities(matte, share, kind)
    system = matting_system(matting_laplacian(photo), foreground, background, LAMBDA)
    gradient = np.random.default_rng(0).normal(size=shape)
    return Case(shape, share, kind, photo, system, (LAMBDA * foreground, gradient))


# --- methods --------------------------------------------------------------------

Solutions = tuple[np.ndarray, np.ndarray]


class SystemSolver(Protocol):
    """Solves the system of a case for both of its right-hand sides."""

    def __call__(self, case: Case) -> Solutions:
        """Two (H, W) float64 ndarrays, in the order of ``case.rhs``."""


class VectorSolver(Protocol):
    """Solves a system for one right-hand side."""

    def __call__(self, rhs: np.ndarray) -> np.ndarray:
        """The solution (N,) for a right-hand side (N,), both float64, N = H W."""


class Preconditioner(Protocol):
    """Makes an approximate inverse of a matrix, as `pymatting.cg` takes it."""

    def __call__(self, case: Case) -> object:
        """Approximate inverse of ``case.matrix``."""


def by_solver(solver: LinearSolver) -> SystemSolver:
    """Forward and adjoint solve by one of our solvers, which keeps its analysis."""

    def solve(case: Case) -> Solutions:
        solver.factorize(case.system)
        return solver.solve(case.rhs[0]), solver.solve(case.rhs[1])

    return solve


def each_rhs(case: Case, solve: VectorSolver) -> Solutions:
    """Apply `solve` to both right-hand sides."""
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


def pymatting_cg(preconditioner: Preconditioner) -> SystemSolver:
    """PyMatting's conjugate gradients with one of its preconditioners."""

    def solve(case: Case) -> Solutions:
        approximate_inverse = preconditioner(case)
        # A little below the tolerance, because PyMatting does not check the true residual.
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
class SolverMethod:
    """A way to solve D x = b, and the largest systems that it is timed on.

    Attributes
    ----------
    name : str
    solve : SystemSolver
    most_pixels, most_pixels_everywhere : int
        Largest number of pixels at the main share of unknown pixels, and at the other shares.
    """

    name: str
    solve: SystemSolver
    most_pixels: int
    most_pixels_everywhere: int = 0


def solver_methods() -> list[SolverMethod]:
    """All methods that are compared."""
    small, middle, large = 500_000, 2_000_000, 13_000_000
    return [
        SolverMethod(OURS, by_solver(HybridSolver()), large, large),
        SolverMethod(TUNED, by_solver(PardisoSolver()), middle, middle),
        SolverMethod("pypardiso.spsolve, twice", pypardiso_spsolve, small),
        SolverMethod("CHOLMOD (scikit-sparse)", cholmod, small),
        SolverMethod(
            "PyMatting cg + ichol",
            pymatting_cg(lambda case: pymatting.ichol(case.matrix.tocsc())),
            middle,
            small,
        ),
        SolverMethod(
            "PyMatting cg + jacobi", pymatting_cg(lambda case: pymatting.jacobi(case.matrix)), small
        ),
        SolverMethod(
            "PyMatting cg + vcycle",
            pymatting_cg(lambda case: pymatting.vcycle(case.matrix, case.shape)),
            small,
        ),
        SolverMethod("pyamg cg + smoothed aggregation", pyamg_cg, small),
        SolverMethod("scipy.sparse.linalg.spsolve", scipy_spsolve, small // 4),
    ]


# --- measuring ------------------------------------------------------------------


Returned = TypeVar("Returned")


@dataclass
class Timing:
    """Seconds of several rounds, or a note that says why there are none."""

    seconds: list[float] = field(default_factory=list)
    residual: float = 0.0
    note: str = ""

    def add(self, function: Callable[[], Returned]) -> Returned:
        """Time one call of a function without arguments and return its result."""
        start = time.perf_counter()
        result = function()
        self.seconds.append(time.perf_counter() - start)
        return result

    def as_json(self) -> dict:
        """The timing as docs/bench.json holds it."""
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


def time_methods(case: Case, methods: list[SolverMethod], repeats: int) -> dict[str, dict]:
    """Time methods in turns, so that background load hits all alike."""
    timings = {method.name: Timing() for method in methods}
    for round_ in range(repeats + 1):
        for method in methods:
            timing = timings[method.name]
            if timing.note or (sum(timing.seconds) > SECONDS):
                continue
            gc.collect()
            time.sleep(SETTLE)
            try:
                solutions = timing.add(partial(method.solve, case))
            except ImportError:
                timing.note = "not installed"
                continue
            except Exception as error:  # a method's failure is a result
                timing.note = f"failed: {error}".splitlines()[0][:60]
                continue
            timing.residual = max(timing.residual, true_residual(case, solutions))
            if timing.residual > RESIDUAL_TOLERANCE:
                timing.note = f"stopped at a residual of {timing.residual:.0e}"
            # The first round also compiles, analyzes and allocates memory.  It is dropped
            # unless it takes so long that it is the only one.
            if round_ == 0 and timing.seconds[0] < SECONDS / 2:
                timing.seconds.clear()
    return {name: timing.as_json() for name, timing in timings.items()}


def compare_assembly(repeats: int) -> dict[str, dict]:
    """Time the assembly of the matting Laplacian at the main size, ours and PyMatting's."""
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
    """Time assembly and forward solve of one photo; also peak memory in bytes."""
    photo, matte = portrait_of(shape)
    photo *= 255
    foreground, background = probabilities(matte, MAIN_SHARE, "trimap")
    timing = Timing()

    def forward() -> None:
        solve_alpha(photo, foreground, background, LAMBDA)

    for _ in range(repeats + 1):
        timing.add(forward)
    del timing.seconds[0]
    return {**timing.as_json(), "peak_bytes": peak_bytes()}


def measure_growth(repeats: int, before: Path | None = None) -> list[dict]:
    """`forward_alone` for every size, each in a process of its own.

    Parameters
    ----------
    repeats : int
    before : Path, optional
        A built checkout of an earlier version, which takes turns with this one; what it takes is
        the entry ``before``.
    """
    words = "tools.benchmarks.solvers", "forward"
    results = []
    for height, width in tqdm(GROWTH_SIZES, "growth"):
        size = height, width, repeats
        result = {"height": height, "width": width, **run_alone(*words, *size)}
        if before is not None and height * width <= MOST_PIXELS_BEFORE:
            result["before"] = run_alone(*words, *size, checkout=before)
        results.append(result)
    return results


def check_earlier(before: Path) -> None:
    """Refuse a folder that is no built checkout of an earlier version.

    Raises
    ------
    InputError
    """
    # Elsewhere Python would find the modules of this checkout, which is installed.
    if not (before / "tools/benchmarks/solvers.py").is_file() or not any(
        before.glob("caffe_layers/_hybrid*.so")
    ):
        raise InputError(
            f"{before} is no built checkout with tools/benchmarks; run `make` there, or leave "
            "--before out."
        )


def growth_exponent(results: list[dict]) -> float:
    """The k that fits time = c n**k best (least squares of the logarithms)."""
    pixels = [np.log(r["height"] * r["width"]) for r in results]
    return float(np.polyfit(pixels, [np.log(r["median"]) for r in results], 1)[0])


def run(quick: bool, before: Path | None = None) -> None:
    """Measure everything and write the results; `before` as in `measure_growth`."""
    if before is not None:
        check_earlier(before)
    repeats = 2 if quick else REPEATS
    report: dict = {"machine": describe_machine(PACKAGES), "assembly": compare_assembly(repeats)}
    print(json.dumps(report["machine"], indent=1))
    plan = [
        (shape, share, kind)
        for shape in (SIZES[:2] if quick else SIZES)
        for share in SHARES
        for kind in ("trimap", "soft")
        # The largest size is measured at the main share only.  "soft" makes no sense for a
        # band as narrow as the hair itself, nor where nothing is known.
        if (shape != SIZES[-1] or share == MAIN_SHARE)
        and (MAIN_SHARE <= share < 1 or kind == "trimap")
    ]
    report["systems"] = measure_systems(plan, repeats)
    report["growth"] = measure_growth(repeats, before)
    report["growth_exponent"] = growth_exponent(report["growth"])
    write_report(RESULTS, report)
    draw(report)
    print(solvers_section(report))


def measure_systems(plan: list[tuple[tuple[int, int], float, str]], repeats: int) -> list[dict]:
    """`time_methods` for every shape, share and kind of the plan."""
    methods = solver_methods()
    results = []
    for shape, share, kind in tqdm(plan, "systems"):
        main = share == MAIN_SHARE and kind == "trimap"
        case = make_case(shape, share, kind)
        chosen = [
            c
            for c in methods
            if np.prod(shape) <= (c.most_pixels if main else c.most_pixels_everywhere)
        ]
        times = time_methods(case, chosen, repeats)
        results.append(
            {"height": shape[0], "width": shape[1], "share": share, "kind": kind, "times": times}
        )
        tqdm.write(f"{shape[1]} x {shape[0]}, {share:.0%} unknown, {kind}")
        for name, timing in times.items():
            tqdm.write(f"  {name:34s} {_seconds(timing)}")
    return results


# --- reporting ------------------------------------------------------------------


def _seconds(timing: dict) -> str:
    if "note" in timing:
        return timing["note"]
    spread = "" if timing["rounds"] == 1 else f" ({timing['least']:.3g}-{timing['most']:.3g})"
    return f"{timing['median']:.3g} s{spread}"


def find(report: dict, size: tuple[int, int], share: float, kind: str) -> dict[str, dict]:
    """Timings of one system of a report.

    Raises
    ------
    InputError
        If the report does not hold the system.
    """
    wanted = (*size, share, kind)
    for each in report["systems"]:
        if (each["height"], each["width"], each["share"], each["kind"]) == wanted:
            return each["times"]
    raise InputError(f"{RESULTS} has no system {wanted}; run `make bench` again.")


def _method_row(name: str, timing: dict, ours: float) -> list[str]:
    faster = "" if name == OURS or "note" in timing else f"{timing['median'] / ours:.1f} x"
    return [name, _seconds(timing), faster]


def _share_cell(report: dict, size: tuple[int, int], share: float, kind: str) -> str:
    """Seconds of our solver and of PARDISO; empty if the system was not measured."""
    try:
        times = find(report, size, share, kind)
    except InputError:
        return ""
    pair = [times[name]["median"] for name in (OURS, TUNED) if name in times]
    return " / ".join(f"{seconds:.2f}" for seconds in pair)


def _share_rows(report: dict) -> list[list[str]]:
    """Sizes and kinds of systems with their `_share_cell`s; those never measured are omitted."""
    rows = []
    for size in SIZES:
        for kind in ("trimap", "soft"):
            cells = [_share_cell(report, size, share, kind) for share in SHARES]
            if any(cells):
                rows.append([f"{size[1]} x {size[0]}, {kind}", *cells])
    return rows


def _growth_parts(growth: list[dict]) -> list[str]:
    """Heading and table of the forward pass by size, beside an earlier version if there is one."""
    head, earlier = ["", "seconds", "peak memory"], ""
    if any("before" in each for each in growth):
        head += ["before", "peak memory"]
        earlier = ", and what an earlier version takes (`--before`)"
    return [
        f"Forward pass alone, Laplacian included, 15 % unknown, in a process of its own{earlier}:",
        markdown_table(head, [_growth_row(each)[: len(head)] for each in growth]),
    ]


def _growth_row(each: dict) -> list[str]:
    megapixels = each["height"] * each["width"] / 1e6
    cells = [f"{megapixels:.1f} megapixels", *_time_and_memory(each)]
    before = each.get("before")
    return [*cells, *(_time_and_memory(before) if before else ["", ""])]


def _time_and_memory(timing: dict) -> list[str]:
    return [f"{timing['median']:.2f}", f"{timing['peak_bytes'] / 2**30:.1f} GiB"]


def solvers_section(report: dict) -> str:
    """Section of docs/benchmark.md, in Markdown."""
    machine, assembly = report["machine"], report["assembly"]
    main = find(report, MAIN_SIZE, MAIN_SHARE, "trimap")
    ours = main[OURS]["median"]
    laplacian = assembly[OURS]["median"]
    theirs = assembly["PyMatting cf_laplacian"]["median"]
    parts = [
        f"Measured {machine['date']} by `make bench` on {machine['cores']} cores of an "
        f"{machine['processor']}; medians (least-most), every solution at a true relative "
        "residual below 1e-8. Forward and adjoint solve, 600 x 800, 15 % unknown:",
        markdown_table(
            ["", "seconds", "ours is faster"],
            [_method_row(name, timing, ours) for name, timing in main.items()],
        ),
        f"The Laplacian of the same photo takes {1e3 * laplacian:.0f} ms, PyMatting's "
        f"{1e3 * theirs:.0f} ms ({theirs / laplacian:.1f} x).",
        "Against PARDISO with cached analysis, by size and share of unknown pixels "
        "(ours / PARDISO, seconds; PARDISO is not asked at 12 megapixels):",
        markdown_table(["", *(f"{share:.0%}" for share in SHARES)], _share_rows(report)),
        *_growth_parts(report["growth"]),
        f"Time grows as n^{report['growth_exponent']:.2f}.",
        "![Times by method, size and unknown share](bench.png)",
    ]
    return "\n\n".join(parts)


def draw(report: dict) -> None:
    """Draw times by method, by share of unknown pixels, and by size."""
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
    measuring.add_argument(
        "--before",
        type=named_path,
        metavar="CHECKOUT",
        help="a built checkout of an earlier version to compare with",
    )
    commands.add_parser("readme", help=f"put the table into {shown(BENCHMARK)}")
    forward = commands.add_parser("forward", help="one forward pass in this process, as JSON")
    for name in ("height", "width", "repeats"):
        forward.add_argument(name, type=count)
    options = parser.parse_args(argv)
    if options.command == "run":
        run(options.quick, options.before)
    elif options.command == "forward":
        print(json.dumps(forward_alone((options.height, options.width), options.repeats)))
    else:
        renew_section(
            BENCHMARK, SECTION, COMMAND, solvers_section(read_report(RESULTS, "make bench"))
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
