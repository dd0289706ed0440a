"""What a user did that cannot work, said in one sentence."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

# What the names of our loggers begin with.
LIBRARIES = ("caffe_layers", "data_prep", "prototxt", "tools")


class InputError(ValueError):
    """Bad input: the message names the file or option, or the argument, and the remedy."""


class TooLargeError(InputError):
    """An image of more pixels or bytes than are read."""


class _Told(logging.Handler):
    """Hands the warnings that our libraries log to a function, others to whom they went to."""

    def __init__(self, tell: Callable[[str], None], others: Sequence[logging.Handler]) -> None:
        super().__init__(logging.WARNING)
        self._tell, self._others = tell, others

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] in LIBRARIES:
            self._tell(record.getMessage())
            return
        last = [logging.lastResort] if logging.lastResort else []
        for handler in self._others or last:
            if record.levelno >= handler.level:
                handler.handle(record)


@contextmanager
def _warnings_told_to(tell: Callable[[str], None]) -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers[:] = [_Told(tell, before)]
    try:
        yield
    finally:
        root.handlers[:] = before


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect what our libraries log as warnings, each once, in place of showing it.

    They warn where something of the input is left out or assumed and the work goes on.
    """
    told: list[str] = []

    def collect(sentence: str) -> None:
        if sentence not in told:
            told.append(sentence)

    with _warnings_told_to(collect):
        yield told


def printable(name: str) -> str:
    """A file's name for those who take UTF-8 only: bytes that are none with backslashes."""
    return name.encode(errors="backslashreplace").decode()


def program_name() -> str:
    """Name of the program that runs, as its messages begin."""
    return sys.argv[0].rsplit("/", 1)[-1]


def tell(sentence: str) -> None:
    """Write one sentence to standard error, after the program's name."""
    print(f"{program_name()}: {sentence}", file=sys.stderr)


def run_program(program: Callable[[], int | None]) -> int:
    """Run a command-line program; turn expected failures into one sentence.

    Warnings that our libraries log become sentences of the program.  Names that the
    output's encoding does not hold, as those of files that are no UTF-8, are written with
    backslashes.

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _warnings_told_to(tell):
            return program() or 0
    except (InputError, OSError) as error:
        tell(str(error))
        return 1
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        # A library that takes UTF-8 only met the name of a file.
        tell(f"the name {printable(error.object)} is no UTF-8; rename the file.")
        return 1
    except KeyboardInterrupt:
        return 130
