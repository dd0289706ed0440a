"""Linear solvers for the matting system D x = b.

A solver has three steps, so that work is shared as far as it can be:
``analyse(shape, radius)`` once per image size, ``factorise(system)`` once per
image, ``solve(rhs)`` for every right-hand side (forward, adjoint).
"""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from pypardiso import PyPardisoSolver

from caffe_layers.laplacian import upper_csr_pattern

if TYPE_CHECKING:
    from caffe_layers.matting import MattingSystem

SYMMETRIC_POSITIVE_DEFINITE = 2  # PARDISO's mtype
ANALYSE, FACTORISE, SOLVE = 11, 22, 33  # PARDISO's phases

#: Largest accepted relative residual |D x - b| / |b|.
RESIDUAL_TOLERANCE = 1e-8
#: Normwise backward error at which a solution is as good as float64 allows,
#: whatever the residual: b can be many orders smaller than D x when nearly
#: every pixel is unknown.
ROUNDING_LEVEL = 1e-14


class SolveError(ArithmeticError):
    """The linear system could not be solved to the required accuracy."""


@cache
def mkl_runtime() -> str:
    """Path of libmkl_rt in the active environment, or "" to let pypardiso look.

    pypardiso searches the whole environment for it each time a solver is
    made, which takes half a second.
    """
    found = sorted(Path(sys.prefix, "lib").glob("libmkl_rt.so.*"))
    return str(found[0]) if found else ""


class PardisoSolver:
    """Direct solver: Intel MKL PARDISO, Cholesky, analysis kept per image size.

    pypardiso's public API copies and compares the matrix on every call and
    factorises it as unsymmetric, so its wrapper is driven phase by phase, one
    instance per solver, on the upper triangle alone.
    """

    def __init__(self):
        self._shape_radius: tuple[tuple[int, int], int] | None = None
        self._pardiso: PyPardisoSolver | None = None

    def analyse(self, shape: tuple[int, int], radius: int = 1) -> None:
        """Order the unknowns of images of `shape`; a no-op when already done."""
        if self._shape_radius == (shape, radius):
            return
        self.free()
        self._indptr, self._indices = upper_csr_pattern(shape, radius)
        if mkl_runtime():
            os.environ.setdefault("PYPARDISO_MKL_RT", mkl_runtime())
        pardiso = PyPardisoSolver(mtype=SYMMETRIC_POSITIVE_DEFINITE)
        pardiso.set_iparm(1, 1)  # no defaults: a zeroed iparm gives garbage on some systems
        pardiso.set_iparm(2, 2)  # nested dissection
        pardiso.set_iparm(8, 2)  # at most two steps of iterative refinement
        pardiso.set_iparm(24, 1)  # two-level factorisation, scales better over threads
        self._pardiso = pardiso
        self._call(ANALYSE, np.ones(self._indices.size), np.zeros(self._indptr.size - 1))
        self._shape_radius = (shape, radius)

    def factorise(self, system: MattingSystem) -> None:
        """Cholesky factor of D, kept for `solve`.

        Raises
        ------
        SolveError
            If D is not positive definite.
        """
        self.analyse(system.shape, system.laplacian.radius)
        self._system = system
        self._values = system.laplacian.upper_csr_values(system.data, self._indptr)
        self._call(FACTORISE, self._values, np.zeros(self._indptr.size - 1))

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """x with D x = rhs for the system factorised last.

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
        shape = self._system.shape
        x = self._call(SOLVE, self._values, rhs.reshape(-1)).reshape(shape)
        check_residual(self._system, x, rhs)
        return x

    def free(self) -> None:
        """Release the factor, which MKL holds outside Python's memory."""
        if self._pardiso is not None:
            self._pardiso.free_memory(everything=True)
            self._pardiso = None
            self._shape_radius = None

    def __del__(self):
        if not sys.is_finalizing():  # then the process gives everything back
            self.free()

    def _call(self, phase: int, values: np.ndarray, rhs: np.ndarray) -> np.ndarray:
        size = self._indptr.size - 1
        matrix = sp.csr_matrix((values, self._indices, self._indptr), shape=(size, size))
        self._pardiso.set_phase(phase)
        try:
            return self._pardiso._call_pardiso(matrix, np.ascontiguousarray(rhs, np.float64))
        except Exception as error:
            raise SolveError(f"PARDISO failed in phase {phase}: {error}") from None


def check_residual(system: MattingSystem, x: np.ndarray, rhs: np.ndarray) -> float:
    """Relative residual |D x - b| / |b| (2-norms), or an error.

    Raises
    ------
    SolveError
        If it exceeds `RESIDUAL_TOLERANCE` and the normwise backward error
        exceeds `ROUNDING_LEVEL`.
    """
    norm = float(np.linalg.norm(rhs))
    residual = float(np.linalg.norm(system.apply(x) - rhs))
    relative = residual / norm if norm else residual
    if relative <= RESIDUAL_TOLERANCE:
        return relative
    scale = system.infinity_norm() * float(np.linalg.norm(x)) + norm
    if residual <= ROUNDING_LEVEL * scale:
        return relative
    raise SolveError(f"relative residual {relative:.1e} exceeds {RESIDUAL_TOLERANCE:.0e}")
