"""Why `caffe train` failed, as found in its log.

Caffe ends with a stack trace, whose last line does not help.  The reason stands above it,
in glog's fatal line, in the message of a layer, or in a Python or C++ exception; otherwise
the signal that ended the program is the reason.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

#: Message of a layer of this project before it ends the program (`layer_support.fail`).
SENTENCE = re.compile(r"caffe: (?P<reason>.+)")
#: F20261128 04:33:40.746963 17195 db_lmdb.hpp:15] Check failed: ...
FATAL = re.compile(r"F\d+ [\d:.]+ +\d+ \S+:\d+\] (?P<reason>.+)")
#: Message of protobuf's parser about a mistake in a prototxt file.
PARSER = re.compile(r"\[libprotobuf ERROR [^\]]*\] (?P<reason>.+)")
CREATING = re.compile(r"I\d+ [\d:.]+ +\d+ \S+:\d+\] Creating layer (?P<layer>.+)")
CREATED = re.compile(r"I\d+ [\d:.]+ +\d+ \S+:\d+\] Network initialization done")
#: Last line of a Python traceback; of some exceptions, Caffe prints only this line.
PYTHON = re.compile(r"(?P<reason>[A-Za-z_][\w.]*(?:Error|Exception)(?:: .*)?)")
CPP = re.compile(r"terminate called after throwing an instance of '(?P<type>.+)'")
WHAT = re.compile(r"\s*what\(\):\s+(?P<reason>.+)")
#: Stack frames and the lines around them.
TRACE = re.compile(r"\s*@ |\*\*\* |PC: @")

#: Explanations of C++ exceptions that have no message.
EXCEPTIONS = {
    "std::bad_alloc": "memory did not suffice",
    "boost::python::error_already_set": "a Python layer raised an exception",
}
#: The most frequent causes of signals that a program does not send to itself.
SIGNALS = {
    signal.SIGBUS: "a file that it reads is shorter than it was, or the disk is full",
    signal.SIGSEGV: "a defect of the program or of a library",
    signal.SIGILL: "it was built for another processor; build it again here",
}


def _last(pattern: re.Pattern[str], lines: Sequence[str]) -> re.Match[str] | None:
    """The last line that matches as a whole."""
    return next((match for line in reversed(lines) if (match := pattern.fullmatch(line))), None)


def _fatal_reason(lines: Sequence[str]) -> str | None:
    """Message of glog's fatal line, with the place in a prototxt file or the layer added."""
    fatal = _last(FATAL, lines)
    if fatal is None:
        return None
    reason = fatal["reason"]
    if parser := _last(PARSER, lines):
        return f"{reason}: {parser['reason']}"
    done = max((i for i, line in enumerate(lines) if CREATED.match(line)), default=-1)
    if creating := _last(CREATING, lines[done + 1 :]):
        return f"{reason} (layer {creating['layer']})"
    return reason


def _exception_reason(lines: Sequence[str]) -> str | None:
    """Message of an uncaught Python or C++ exception."""
    if python := _last(PYTHON, lines):
        return python["reason"]
    thrown = _last(CPP, lines)
    if thrown is None:
        return None
    if said := EXCEPTIONS.get(thrown["type"]):
        return f"{said} ({thrown['type']})"
    what = _last(WHAT, lines)
    return f"{thrown['type']}: {what['reason']}" if what else thrown["type"]


def failure_reason(lines: Sequence[str], returncode: int) -> str:
    """Reason why `caffe train` failed, without a period at its end.

    Parameters
    ----------
    lines : sequence of str
        The last lines of its output, at least 200.
    returncode : int
        As in `subprocess`: negative for a signal.

    Returns
    -------
    str
        One line.
    """
    lines = [line.rstrip() for line in lines if line.strip()]
    sentence = _last(SENTENCE, lines)
    reason = sentence["reason"] if sentence else _fatal_reason(lines) or _exception_reason(lines)
    if reason is None and returncode < 0 and returncode != -signal.SIGABRT:
        number = signal.Signals(-returncode)
        hint = SIGNALS.get(number)
        reason = f"Caffe was ended by {number.name}" + (f" ({hint})" if hint else "")
    if reason is None:
        rest = [line.strip() for line in lines if not TRACE.match(line)]
        reason = rest[-1] if rest else f"Caffe ended with status {returncode}"
    return reason.rstrip(".")
