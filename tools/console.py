"""The programs under the names that ``pip install`` puts on the path.

Each imports its program when it is called, so that a failed import concerns one
program alone, and the others start quickly.
"""

from __future__ import annotations

from data_prep.common.errors import run_program


def matte() -> int:
    """``portrait-matte``: tools/matte.py."""
    from tools.matte import main

    return run_program(main)


def serve() -> int:
    """``portrait-matte-serve``: tools/serve.py."""
    from tools.serve import main

    return run_program(main)


def compare() -> int:
    """``portrait-matte-compare``: tools/compare.py."""
    from tools.compare import main

    return run_program(main)
