"""The hybrid solver against the full factorization."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from checkout import ROOT
from scipy.sparse.linalg import spsolve
from threads import outputs_by_threads

from caffe_layers import _hybrid, linear_solver
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.linear_solver import HybridSolver, PardisoSolver, SolveError, check_residual
from caffe_layers.matting import MattingFunction
from caffe_layers.matting_system import MattingSystem


def disk_trimap(shape, inner, outer, center=None):
    """F and B, exactly 0 or 1, unknown between two radii (shares of the size)."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    y, x = center or (shape[0] / 2, shape[1] / 2)
    distance = np.hypot((rows - y) / shape[0], (columns - x) / shape[1])
    return (distance < inner).astype(float), (distance > outer).astype(float)


def smooth_image(shape, seed):
    """Smooth colors with noise: harder for the Laplacian than pure noise."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(rows / rng.uniform(5, 30) + columns / rng.uniform(5, 30)) for _ in range(3)]
    return np.clip(0.5 + 0.3 * np.stack(waves, axis=2) + 0.02 * rng.normal(size=(*shape, 3)), 0, 1)


def soft(shape, seed):
    """Probabilities like a net's: saturated in places, undecided in others."""
    rng = np.random.default_rng(seed)
    logits = 8 * smooth_image(shape, seed + 1) - 4 + rng.normal(size=(*shape, 3))
    powers = np.exp(3 * logits)
    probabilities = powers / powers.sum(axis=2, keepdims=True)
    return probabilities[..., 0], probabilities[..., 1]


def whole_region(hard):
    """The parts of pixels of which all are active, and some hard."""
    return (_hybrid.ACTIVE | _hybrid.REACHED | (hard * _hybrid.HARD)).astype(np.uint8)


SYSTEMS = {
    **{
        f"disk {inner}-{outer}, lambda {lambda_}": (
            smooth_image((60, 50), 1),
            *disk_trimap((60, 50), inner, outer),
            lambda_,
        )
        for inner, outer in [(0.2, 0.3), (0.1, 0.4)]
        for lambda_ in (1e-3, 1.0, 100.0, 1e6)
    },
    **{
        f"soft {seed}, lambda {lambda_}": (
            smooth_image((48, 64), seed),
            *soft((48, 64), seed),
            lambda_,
        )
        for seed in (2, 3)
        for lambda_ in (1.0, 100.0, 1e4)
    },
    "noise": (
        np.random.default_rng(4).random((40, 40, 3)),
        *disk_trimap((40, 40), 0.2, 0.35),
        100.0,
    ),
    "single color": (np.full((40, 50, 3), 0.4), *disk_trimap((40, 50), 0.2, 0.3), 100.0),
    "gray": (
        np.repeat(smooth_image((40, 50), 5)[..., :1], 3, 2),
        *disk_trimap((40, 50), 0.2, 0.3),
        100.0,
    ),
    "all known": (smooth_image((30, 30), 6), *disk_trimap((30, 30), 0.3, 0.2999), 100.0),
    "all unknown": (smooth_image((30, 30), 7), np.zeros((30, 30)), np.zeros((30, 30)), 100.0),
    "one certain pixel": (
        smooth_image((30, 30), 8),
        np.eye(30) * (np.arange(30) == 3),
        np.zeros((30, 30)),
        100.0,
    ),
    "3 x 3": (smooth_image((3, 3), 9), np.eye(3), np.fliplr(np.eye(3)) * (1 - np.eye(3)), 100.0),
    "two islands": (
        smooth_image((40, 90), 10),
        *(
            np.hstack(pair)
            for pair in zip(disk_trimap((40, 45), 0.1, 0.2), disk_trimap((40, 45), 0.2, 0.3))
        ),
        100.0,
    ),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_hybrid_equals_the_full_factorization(name):
    image, foreground, background, lambda_ = SYSTEMS[name]
    laplacian = matting_laplacian(image)
    gradient = np.random.default_rng(11).normal(size=foreground.shape)
    results = []
    for solver in (PardisoSolver(), HybridSolver()):
        function = MattingFunction(solver)
        alpha = function.forward(laplacian, foreground, background, lambda_)
        results.append((alpha, *function.backward(gradient)))
    full, hybrid = results
    assert np.abs(full[0] - hybrid[0]).max() < 1e-6
    for expected, found in zip(full[1:], hybrid[1:]):
        assert np.linalg.norm(found - expected) <= 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", SYSTEMS)
def test_hybrid_needs_no_fall_back(name):
    image, foreground, background, lambda_ = SYSTEMS[name]
    solver = HybridSolver()
    function = MattingFunction(solver)
    function.forward(matting_laplacian(image), foreground, background, lambda_)
    function.backward(np.random.default_rng(12).normal(size=foreground.shape))
    assert solver.used == "hybrid"
    assert solver.iterations <= 20


@pytest.mark.parametrize("shape", [(21, 60), (45, 45), (64, 33), (71, 98), (90, 117), (120, 40)])
def test_an_image_of_which_nothing_is_known_needs_no_fall_back(shape):
    """Its system is singular but for a floor, so that rounding makes pivots of it negative."""
    solver = HybridSolver()
    function = MattingFunction(solver)
    nothing = np.zeros(shape)
    function.forward(matting_laplacian(smooth_image(shape, 15)), nothing, nothing)
    function.backward(np.random.default_rng(16).normal(size=shape))
    assert solver.used == "hybrid"
    assert solver.iterations <= 20


def test_a_stalled_iteration_falls_back_to_pardiso(monkeypatch):
    image, foreground, background, lambda_ = SYSTEMS["noise"]
    laplacian = matting_laplacian(image)
    expected = MattingFunction(PardisoSolver()).forward(laplacian, foreground, background, lambda_)
    monkeypatch.setattr(linear_solver, "MOST_ITERATIONS", 1)
    solver = HybridSolver()
    found = MattingFunction(solver).forward(laplacian, foreground, background, lambda_)
    assert solver.used == "pardiso"
    np.testing.assert_array_equal(found, expected)


def test_an_indefinite_system_is_refused():
    system = MattingSystem(matting_laplacian(smooth_image((20, 20), 13)), np.full((20, 20), -50.0))
    for solver in (HybridSolver(), PardisoSolver()):
        with pytest.raises(SolveError):
            solver.factorize(system)


@pytest.mark.parametrize(
    "shape, radius, share",
    [
        ((3, 3), 1, 1.0),
        ((40, 50), 1, 0.6),
        ((40, 50), 2, 0.7),
        ((7, 300), 1, 0.9),
        ((230, 210), 1, 1.0),  # has fronts large enough for threads inside
    ],
)
def test_preconditioner_inverts_the_block(shape, radius, share):
    """Factor of a random block and diagonal, in turn, against SciPy."""
    rng = np.random.default_rng(14)
    laplacian = matting_laplacian(rng.random((*shape, 3)), radius=radius)
    data = rng.uniform(0.5, 5, shape)
    block = (rng.random(shape) < share).astype(np.uint8)
    rhs = rng.normal(size=shape)
    system = _hybrid.PreconditionedSystem()
    assert system.factorize(laplacian.planes, data, whole_region(block), radius)
    found = system.precondition(rhs)

    matrix = (laplacian.to_csr() + sp.diags(data.ravel())).tocsr()
    chosen = np.flatnonzero(block)
    by_diagonal = rhs.ravel() / matrix.diagonal()
    by_diagonal[chosen] = 0
    left = (rhs.ravel() - matrix @ by_diagonal)[chosen]
    expected = np.zeros(rhs.size)
    expected[chosen] = spsolve(matrix[chosen][:, chosen].tocsc(), left)
    in_residual = (matrix @ expected) / matrix.diagonal()
    in_residual[chosen] = 0
    expected += by_diagonal - in_residual
    np.testing.assert_allclose(found.ravel(), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("shape, radius", [((150, 140), 1), ((90, 80), 2)])
def test_rounding_gives_a_constant_no_cost(shape, radius):
    """Known along one side only, a constant costs nearly nothing: as little does its rounding."""
    laplacian = matting_laplacian(smooth_image(shape, 30), radius=radius)
    data = np.full(shape, 1e-10)
    data[:4] = 100.0
    matrix = MattingSystem(laplacian, data)
    system = _hybrid.PreconditionedSystem()
    everything = whole_region(np.ones(shape, np.uint8))
    assert system.factorize(laplacian.planes, data, everything, radius)
    ones = np.ones(shape)
    np.testing.assert_allclose(system.precondition(matrix.apply(ones)), ones, rtol=0, atol=1e-4)


def test_shapes_that_do_not_fit_are_refused():
    laplacian = matting_laplacian(smooth_image((9, 8), 15))
    system, parts = _hybrid.PreconditionedSystem(), whole_region(np.ones((9, 8), np.uint8))
    with pytest.raises(ValueError, match="differ in shape"):
        system.factorize(laplacian.planes, np.ones((8, 9)), parts, 1)
    with pytest.raises(ValueError, match="differ in shape"):
        system.factorize(laplacian.planes, np.ones((9, 8)), parts.T, 1)
    system.factorize(laplacian.planes, np.ones((9, 8)), parts, 1)
    with pytest.raises(ValueError, match="differ in shape"):
        system.solve(np.ones((8, 9)), 1e-8, 1e-7, 10)


PRINT_CHECKSUM = """
import hashlib, sys
import numpy as np
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction

rng = np.random.default_rng(0)
function = MattingFunction()
known = rng.random((300, 280)) < 0.2
alpha = function.forward(matting_laplacian(rng.random((300, 280, 3))), known * 1.0, known * 0.0)
gradients = function.backward(rng.normal(size=alpha.shape))
digest = hashlib.sha256(alpha.tobytes() + gradients[0].tobytes() + gradients[1].tobytes())
print(digest.hexdigest(), gradients[2].hex())
"""


def test_results_are_bit_equal_from_run_to_run_and_for_any_number_of_threads():
    assert len(outputs_by_threads(PRINT_CHECKSUM, 1, 2, 2, 3)) == 1


PRINT_MEMORY = """
import numpy as np
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction

def resident_pages():
    return int(open("/proc/self/statm").read().split()[1])

rng = np.random.default_rng(0)
function = MattingFunction()
for round_ in range(500):
    shape = [(60, 80), (90, 70), (120, 100)][round_ % 3]
    known = (rng.random(shape) < 0.3) * 1.0
    function.forward(matting_laplacian(rng.random((*shape, 3))), known, 0 * known)
    function.backward(rng.normal(size=shape))
    if round_ == 49:
        print(resident_pages())
print(resident_pages())
"""


def test_memory_does_not_grow():
    output = subprocess.run(
        [sys.executable, "-c", PRINT_MEMORY], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    early, late = map(int, output.split())
    assert late <= 1.05 * early


def test_an_inaccurate_solution_is_refused():
    image, foreground, background, _ = SYSTEMS["3 x 3"]
    system = MattingSystem(matting_laplacian(image), foreground + background)
    with pytest.raises(SolveError, match="residual"):
        check_residual(system, np.ones((3, 3)), foreground)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="subnormals are flushed on x86 alone")
def test_subnormals_count_as_zero_while_they_are_flushed_and_not_afterwards():
    def halved():
        return (np.full(4, np.finfo(float).tiny) / np.full(4, 2.0)).tolist()

    subnormal = halved()
    assert min(subnormal) > 0
    with _hybrid.FlushedSubnormals():
        assert halved() == [0.0] * 4
    assert halved() == subnormal
    with pytest.raises(KeyError), _hybrid.FlushedSubnormals():
        raise KeyError
    assert halved() == subnormal
    system = MattingSystem(matting_laplacian(smooth_image((40, 30), 1)), np.full((40, 30), 1e-4))
    for solver in (HybridSolver(), PardisoSolver()):
        solver.factorize(system)
        solver.solve(np.ones((40, 30)))
        assert halved() == subnormal
