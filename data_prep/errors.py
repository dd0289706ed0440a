"""What a user did that cannot work, said in one sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable


class InputError(Exception):
    """Bad input: the message names the file or option and the remedy."""


class TooLargeError(InputError):
    """An image of more pixels or bytes than are read."""


def run_program(program: Callable[[], int | None]) -> int:
    """Run a command-line program; turn expected failures into one sentence.

    Parameters
    ----------
    program : callable
        Takes nothing; returns an exit status (None counts as 0).

    Returns
    -------
    int
        The program's status, 1 after an `InputError` or a failed write
        (disk full, no permission), 130 after an interrupt.
    """
    try:
        return program() or 0
    except (InputError, OSError) as error:
        print(f"{sys.argv[0].rsplit('/', 1)[-1]}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
