"""Run a program of this folder with the checkout's `.venv`, whichever Python started it.

Each program begins with

    if not __package__:
        import use_venv

so that `tools/matte.py` works without activation and inside another environment, too.
Importing this module is harmless: only a program that was started as a file (not with
`-m`) has this folder on its path and gets here.  It needs nothing but Python itself.

An interrupt ends such a program without a word from here on, also while it is still loaded.
"""

import importlib.util
import os
import sys
from pathlib import Path
from types import TracebackType

VENV = Path(__file__).resolve().parents[1] / ".venv"
PYTHON = VENV / "bin/python3"


def main() -> None:
    """Start the program again if another Python runs it; end it if there is no environment."""
    # The folder is compared, not `sys.prefix`: after the new start it is the same in any
    # case (PYTHONHOME, a broken environment), so that there is no second one.
    name = Path(sys.argv[0]).name
    try:
        if PYTHON.exists() and Path(sys.executable).parent.resolve() != PYTHON.parent.resolve():
            os.execv(PYTHON, [str(PYTHON), *sys.orig_argv[1:]])
    except OSError as error:
        raise SystemExit(
            f"{name}: {PYTHON} could not be started ({error.strerror}); remove {VENV} and run "
            "'make' as a user who may read its Python."
        ) from None
    if importlib.util.find_spec("data_prep") is None:
        raise SystemExit(f"{name}: the environment in {VENV} is not complete; run 'make' first.")


def _quiet_when_interrupted(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _quiet_when_interrupted
main()
# Sets what Caffe and OpenMP read when they are loaded, which a program may do before it imports
# anything else of ours.
importlib.import_module("tools")
