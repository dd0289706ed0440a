"""Numbers and names on the command line: types for `argparse` that say what an option takes."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def integer_from(least: int) -> Callable[[str], int]:
    """A type for options that are whole numbers from `least` on.

    >>> integer_from(2)("3")
    3

    The type raises `argparse.ArgumentTypeError` for anything else.
    """

    def integer(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ArgumentTypeError(f"{text!r} is no whole number; give {least} or more") from None
        if number < least:
            raise ArgumentTypeError(f"{number} is too few; give {least} or more")
        return number

    return integer


#: How many of something: photos, processes, iterations.
count = integer_from(1)


def positive(text: str) -> float:
    """A type for options that are numbers above 0.

    >>> positive("0.5")
    0.5

    Raises
    ------
    argparse.ArgumentTypeError
        If it is no finite number, or not above 0.
    """
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 < number < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no number above 0; give one, such as 1 or 0.5")
    return number


def not_empty(text: str) -> str:
    """A type for options that are names, none of which is empty.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is, as where a variable of the shell is not set.
    """
    if not text:
        raise ArgumentTypeError("the name is empty; give one (. is the current folder)")
    return text


def named_path(text: str) -> Path:
    """A type for options that are names of files or folders; as `not_empty`, whose errors it has.

    >>> named_path("photos/ann.jpg").suffix
    '.jpg'
    """
    return Path(not_empty(text))
