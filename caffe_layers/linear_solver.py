"""Linear solvers for the matting system D x = b.

A solver has three steps, so that as much work as possible is shared:
``analyze(shape, radius)`` once per image size, ``factorize(system)`` once per
image, ``solve(rhs)`` for every right-hand side (forward, adjoint).  Every
solution is checked against the true residual.

`PardisoSolver` factorizes D as it is.  `HybridSolver` factorizes only the part
of D that is hard, and is exact all the same.
"""

from __future__ import annotations

import os
import sys
import weakref
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import scipy  # which loads scipy.sparse where it is used first

from caffe_layers import _hybrid  # type: ignore[attr-defined]  # compiled
from caffe_layers.active_region import active_region
from caffe_layers.laplacian import upper_csr_pattern
from caffe_layers.matting_system import MattingSystem

if TYPE_CHECKING:  # see `new_pardiso`
    from pypardiso import PyPardisoSolver

SYMMETRIC_POSITIVE_DEFINITE = 2  # PARDISO's mtype
ANALYZE, FACTORIZE, SOLVE = 11, 22, 33  # PARDISO's phases

#: Largest accepted relative residual |D x - b| / |b|.
RESIDUAL_TOLERANCE = 1e-8
#: Normwise backward error at which a solution is as good as float64 allows,
#: whatever the residual: b can be many orders smaller than D x when nearly
#: every pixel is unknown.
ROUNDING_LEVEL = 1e-14

#: Conjugate gradients stop when the residual is small enough and the error at most about this
#: against the solution.  It is known from the preconditioned residual, by which the solution is
#: corrected.
ERROR_TOLERANCE = 1e-8
MOST_ITERATIONS = 60
#: With affinities, which the preconditioner does not have, and which PARDISO is slow with.
MOST_ITERATIONS_WITH_AFFINITIES = 500
#: PARDISO factorizes affinities between this many unknown pixels: its factor fills in.
MOST_TIED_PIXELS = 100_000


class SolveError(ArithmeticError):
    """The linear system could not be solved to the required accuracy."""


class LinearSolver(Protocol):
    """What the matting function requires of a solver.

    Attributes
    ----------
    used : {"hybrid", "pardiso"}
        How the last system was solved.
    """

    used: str

    def analyze(self, shape: tuple[int, int], radius: int = 1) -> None:
        """Do what depends on the image size alone."""

    def factorize(self, system: MattingSystem) -> None:
        """Do what depends on the image."""

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """x with D x = rhs, both (H, W) float64."""


@cache
def mkl_runtime() -> str:
    """Path of libmkl_rt in the active environment, or "" to let pypardiso look.

    pypardiso searches the whole environment for it each time a solver is
    made, which takes half a second.
    """
    found = sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so.*"))
    return str(found[0]) if found else ""


def new_pardiso() -> PyPardisoSolver:
    """An empty solver of MKL's for symmetric positive definite matrices.

    pypardiso loads MKL when it is imported, and fails where there is none: the
    hybrid solver, which seldom needs it, works without.

    Raises
    ------
    SolveError
        If pypardiso or MKL is not installed.
    """
    if mkl_runtime():
        os.environ.setdefault("PYPARDISO_MKL_RT", mkl_runtime())
    try:
        from pypardiso import PyPardisoSolver
    except (ImportError, OSError) as error:
        raise SolveError(
            f"PARDISO cannot be loaded ({error}); run `pip install pypardiso mkl`"
        ) from error
    return PyPardisoSolver(mtype=SYMMETRIC_POSITIVE_DEFINITE)


class Cholesky:
    """PARDISO's sparse Cholesky factor of a symmetric positive definite matrix.

    pypardiso's public API copies and compares the matrix on every call and
    factorizes it as unsymmetric, so its wrapper is driven phase by phase, one
    instance per factor, on the upper triangle alone.

    Parameters
    ----------
    indptr, indices : int32 ndarray
        Upper triangle in CSR, columns ascending, the diagonal first.

    Raises
    ------
    SolveError
        In every method, if PARDISO reports an error.
    """

    def __init__(self, indptr: np.ndarray, indices: np.ndarray):
        self._indptr, self._indices = indptr, indices
        pardiso = new_pardiso()
        pardiso.set_iparm(1, 1)  # no defaults: a zeroed iparm gives garbage on some systems
        pardiso.set_iparm(2, 2)  # nested dissection
        pardiso.set_iparm(24, 1)  # two-level factorization, scales better over threads
        self._pardiso = pardiso
        # MKL holds the factor outside Python's memory; at exit the process gives everything back.
        self._release = weakref.finalize(self, pardiso.free_memory, everything=True)
        self._release.atexit = False
        self._values = np.ones(indices.size)
        self._call(ANALYZE, np.zeros(indptr.size - 1))

    def factorize(self, values: np.ndarray) -> None:
        """Factor of the matrix with these values (in the order of `indices`)."""
        self._values = values
        self._call(FACTORIZE, np.zeros(self._indptr.size - 1))

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Solution for one right-hand side, (n,) float64."""
        return self._call(SOLVE, np.ascontiguousarray(rhs, np.float64))

    def free(self) -> None:
        """Release the factor, which MKL holds outside Python's memory."""
        self._release()

    def _call(self, phase: int, rhs: np.ndarray) -> np.ndarray:
        size = self._indptr.size - 1
        matrix = scipy.sparse.csr_matrix(
            (self._values, self._indices, self._indptr), shape=(size, size)
        )
        self._pardiso.set_phase(phase)
        try:
            with _hybrid.FlushedSubnormals():  # MKL's threads do as the one that calls
                return self._pardiso._call_pardiso(matrix, rhs)
        except Exception as error:
            raise SolveError(f"PARDISO failed in phase {phase}: {error}") from None


class PardisoSolver:
    """Direct solver: Cholesky factor of the whole of D, analysis kept per image size.

    Affinities make another pattern of every image, which is analyzed anew, and fill in.
    """

    used = "pardiso"

    def __init__(self):
        self._shape_radius: tuple[tuple[int, int], int] | None = None
        self._analyzed = False
        self._cholesky: Cholesky

    def analyze(self, shape: tuple[int, int], radius: int = 1) -> None:
        """Order the unknowns of images of `shape`; a no-op when already done."""
        if self._shape_radius == (shape, radius):
            return
        self._indptr, indices = upper_csr_pattern(shape, radius)
        self._analyze(self._indptr, indices)
        self._shape_radius = (shape, radius)

    def _analyze(self, indptr: np.ndarray, indices: np.ndarray) -> None:
        self._shape_radius = None  # the pattern of one image with affinities is no other's
        if self._analyzed:
            self._cholesky.free()  # before the new factor grows
        self._cholesky = Cholesky(indptr, indices)
        self._analyzed = True

    def factorize(self, system: MattingSystem) -> None:
        """Cholesky factor of D, kept for `solve`.

        Raises
        ------
        SolveError
            If D is not positive definite, or has affinities between more than
            `MOST_TIED_PIXELS`.
        """
        if system.laplacian.region is not None:
            raise SolveError("the system cannot be solved on its active region alone")
        self._system = system
        if system.affinities is not None:
            count = system.affinities.pixels.size
            if count > MOST_TIED_PIXELS:
                raise SolveError(
                    f"PARDISO would fill memory with the affinities of {count} unknown pixels; "
                    f"above {MOST_TIED_PIXELS} take the hybrid solver, or no affinities"
                )
            upper = scipy.sparse.triu(system.to_csr(), format="csr")
            upper.sort_indices()
            self._analyze(upper.indptr, upper.indices)
            self._cholesky.factorize(upper.data)
            return
        self.analyze(system.shape, system.laplacian.radius)
        self._cholesky.factorize(system.laplacian.upper_csr_values(system.data, self._indptr))

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """x with D x = rhs for the system factorized last.

        Parameters
        ----------
        rhs : (H, W) float64 ndarray

        Returns
        -------
        (H, W) float64 ndarray

        Raises
        ------
        SolveError
            If the relative residual exceeds `RESIDUAL_TOLERANCE`.
        """
        x = self._cholesky.solve(rhs.reshape(-1)).reshape(self._system.shape)
        check_residual(self._system, x, rhs)
        return x


class HybridSolver:
    """Conjugate gradients on the active region of D, preconditioned by a factor of its hard part.

    Where lambda (F + B) is large D is nearly diagonal, and its solution is known a few pixels
    away from where it is small (`caffe_layers.active_region`).  What makes D hard to
    solve is the block of *weak* pixels and some around them.  The preconditioner is a Cholesky
    factor of that block and the diagonal elsewhere, in turn (`native/rim.h`), both without
    affinities.  The factor is in single precision and orders the pixels by their place in the
    image (`native/multifrontal.h`), so it takes no analysis; the iteration is in double
    precision and ends at the true residual of all of D.  Should the factor break down or the
    iteration stall, D is factorized as a whole by PARDISO.

    Attributes
    ----------
    used : {"hybrid", "pardiso"}
        Which way the last `solve` went: the second after a fall-back.
    iterations : int
        Steps of the last `solve` by conjugate gradients.
    """

    def __init__(self):
        self._preconditioned = _hybrid.PreconditionedSystem()
        self._full = PardisoSolver()
        self.used = "hybrid"
        self.iterations = 0

    def analyze(self, shape: tuple[int, int], radius: int = 1) -> None:
        """Nothing depends on the size alone."""

    def factorize(self, system: MattingSystem) -> None:
        """Factor of the hard block; the system's Laplacian may be that of a region alone."""
        self._system = system
        self.used = "hybrid"
        laplacian, ties = system.laplacian, system.affinities
        tied = None if ties is None else ties.pixels
        region = laplacian.region or active_region(system.data, laplacian.radius, tied)
        if not self._preconditioned.factorize(
            laplacian.planes,
            system.data,
            region.parts,
            laplacian.radius,
        ):
            self._factorize_fully()
        elif ties is not None:
            values = system.mu * ties.values
            self._preconditioned.add(ties.pixels, ties.indptr, ties.indices, values)

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """x with D x = rhs; parameters and errors as `PardisoSolver.solve`."""
        if self.used == "hybrid":
            tied = self._system.affinities is not None
            most = MOST_ITERATIONS_WITH_AFFINITIES if tied else MOST_ITERATIONS
            x, self.iterations, residual, norm = self._preconditioned.solve(
                rhs, RESIDUAL_TOLERANCE, ERROR_TOLERANCE, most
            )
            if self.iterations >= 0:
                try:
                    check_norms(self._system, x, residual, norm)
                    return x
                except SolveError:
                    pass
            self._factorize_fully()
        return self._full.solve(rhs)

    def _factorize_fully(self) -> None:
        self.used = "pardiso"
        self._full.factorize(self._system)


def check_residual(system: MattingSystem, x: np.ndarray, rhs: np.ndarray) -> float:
    """Relative residual |D x - b| / |b| (2-norms), or an error.

    Raises
    ------
    SolveError
        If it exceeds `RESIDUAL_TOLERANCE` and the normwise backward error
        exceeds `ROUNDING_LEVEL`.
    """
    return check_norms(system, x, euclidean_norm(system.apply(x) - rhs), euclidean_norm(rhs))


def check_norms(system: MattingSystem, x: np.ndarray, residual: float, norm: float) -> float:
    """`check_residual` where the norms of residual and right-hand side are known."""
    relative = residual / norm if norm else residual
    if relative <= RESIDUAL_TOLERANCE:
        return relative
    scale = system.infinity_norm() * euclidean_norm(x) + norm
    if residual <= ROUNDING_LEVEL * scale:
        return relative
    raise SolveError(f"relative residual {relative:.1e} exceeds {RESIDUAL_TOLERANCE:.0e}")


def euclidean_norm(x: np.ndarray) -> float:
    """The 2-norm of an array.

    Unlike NumPy's it leaves BLAS alone, whose threads would keep spinning for
    many milliseconds on the cores that the next solve needs.
    """
    return float(np.sqrt(np.square(x).sum()))


#: Solvers by the name that the layer's parameter `solver` takes.
SOLVERS: dict[str, type[LinearSolver]] = {"pardiso": PardisoSolver, "hybrid": HybridSolver}
