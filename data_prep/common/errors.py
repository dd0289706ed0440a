"""User errors, reported in one sentence, and what libraries log, shown by programs."""

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


class _LibraryHandler(logging.Handler):
    """Hands messages of our libraries to a function, others to the handlers there were."""

    def __init__(
        self,
        warn: Callable[[str], None],
        note: Callable[[str], None] | None,
        others: Sequence[logging.Handler],
    ) -> None:
        super().__init__(logging.INFO)
        self._warn, self._note, self._others = warn, note, others

    def emit(self, record: logging.LogRecord) -> None:
        show = self._warn if record.levelno >= logging.WARNING else self._note
        if show is not None and record.name.partition(".")[0] in LIBRARIES:
            show(record.getMessage())
            return
        last = [logging.lastResort] if logging.lastResort else []
        for handler in self._others or last:
            if record.levelno >= handler.level:
                handler.handle(record)


@contextmanager
def _messages_to(
    warn: Callable[[str], None], note: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Give warnings of our libraries, and notes (INFO) if wanted, to functions."""
    root = logging.getLogger()
    before = root.handlers[:]
    loggers = [logging.getLogger(name) for name in LIBRARIES] if note else []
    levels = [logger.level for logger in loggers]
    root.handlers[:] = [_LibraryHandler(warn, note, before)]
    for logger in loggers:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def collected_warnings() -> Iterator[list[str]]:
    """Collect what our libraries log as warnings, each once, in place of showing it.

    They warn where something of the input is left out or assumed and the work continues.
    """
    told: list[str] = []

    def collect(sentence: str) -> None:
        if sentence not in told:
            told.append(sentence)

    with _messages_to(collect):
        yield told


def printable(name: str) -> str:
    """A file's name as UTF-8; bytes that are not UTF-8 become backslash escapes."""
    return name.encode(errors="backslashreplace").decode()


def program_name() -> str:
    """Name of the program that runs, as its messages begin."""
    return sys.argv[0].rsplit("/", 1)[-1]


def tell(sentence: str) -> None:
    """Write one sentence to standard error, after the program's name."""
    print(f"{program_name()}: {sentence}", file=sys.stderr)


def run_program(program: Callable[[], int | None], notes: bool = False) -> int:
    """Run a command-line program; turn expected failures into one sentence.

    Warnings that our libraries log become sentences of the program.  Names that the
    output's encoding does not hold, as those of files that are no UTF-8, are written with
    backslashes.

    Parameters
    ----------
    program : callable
        Takes nothing; returns an exit status (None counts as 0).
    notes : bool
        Whether what our libraries log at level INFO is printed to standard output.

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
        with _messages_to(tell, print if notes else None):
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
