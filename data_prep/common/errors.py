"""User errors, reported in one sentence, and what libraries log, shown by programs."""

from __future__ import annotations

import errno
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

#: Exit status where whoever read the output has gone: that of programs that SIGPIPE ends.
READER_GONE = 141

# By what the system reports; anything else is `OTHER_REMEDY`.
REMEDIES = {
    errno.ENOENT: "check the name",
    errno.ENOSPC: "free some space or choose another place",
    errno.EDQUOT: "free some space or choose another place",
    errno.EACCES: "check the permissions or choose another place",
    errno.EROFS: "choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EEXIST: "choose another place",
    errno.ENOTDIR: "choose another place",
}
OTHER_REMEDY = "check the file and its folder"

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


def sentence_of(error: OSError) -> str:
    """One sentence on a failed read or write: the file, the reason and the remedy."""
    reason = error.strerror or str(error) or type(error).__name__
    remedy = REMEDIES.get(error.errno or 0, OTHER_REMEDY)
    names = [os.fsdecode(each) for each in (error.filename, error.filename2) if each is not None]
    # Writes and sockets do not say what they fail on.
    name = printable(" or ".join(names)) or "A file, or standard input or output,"
    return f"{name} could not be read or written ({reason}); {remedy}."


def _reader_is_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    if sys.stdout is None:  # closed from the start, as by `>&-`
        return False
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # it is no file, or closed
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_output() -> None:
    """Send what cannot be written nowhere: Python tries again, and complains, when it ends."""
    try:
        _flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _flush() -> None:
    if sys.stdout is not None:
        sys.stdout.flush()


def _flushed(program: Callable[[], int | None]) -> int:
    """Run a program and write what it has printed, so that a failure of this is seen."""
    try:
        return program() or 0
    except InputError:
        _drop_output()  # that nobody reads on must not hide the error
        raise
    finally:
        _flush()


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
        (disk full, no permission), 130 after an interrupt, and `READER_GONE`, without a
        word, where nobody reads its output any more, as in ``| head``.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with _messages_to(tell, print if notes else None):
            return _flushed(program)
    except InputError as error:
        tell(str(error))
        return 1
    except OSError as error:
        gone = isinstance(error, BrokenPipeError) and _reader_is_gone()
        _drop_output()
        if gone:
            return READER_GONE
        tell(sentence_of(error))
        return 1
    except UnicodeEncodeError as error:
        if error.reason != "surrogates not allowed":
            raise
        # A library that takes UTF-8 only met the name of a file.
        tell(f"the name {printable(error.object)} is no UTF-8; rename the file.")
        return 1
    except KeyboardInterrupt:
        return 130
