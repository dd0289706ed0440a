"""What the Caffe layers of this package share: parameters, logging and error messages."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

logger = logging.getLogger(__name__)


class LayerError(ValueError):
    """A layer got parameters or bottoms it cannot work with."""


@dataclass(frozen=True)
class Parameter:
    """One key of a layer's ``param_str``.

    Attributes
    ----------
    default : object
        Used when the key is absent.
    accepts : callable
        True for a valid value.
    expected : str
        What a valid value is, for the message.
    """

    default: Any
    accepts: Callable[[Any], bool]
    expected: str


def is_number(value: Any) -> bool:
    """True for a JSON number (bool is not one)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def positive(default: float | None) -> Parameter:
    """A parameter that must be a number above 0."""
    return Parameter(default, lambda v: is_number(v) and v > 0, "a number above 0")


def not_negative(default: float) -> Parameter:
    """A parameter that must be a number from 0 on."""
    return Parameter(default, lambda v: is_number(v) and v >= 0, "a number, 0 or more")


def whole_number(default: int, least: int = 0) -> Parameter:
    """A parameter that must be a whole number, `least` or more."""
    return Parameter(
        default,
        lambda v: is_number(v) and v >= least and v == int(v),
        f"a whole number, {least} or more",
    )


def switch(default: bool) -> Parameter:
    """A parameter that is true or false."""
    return Parameter(default, lambda v: isinstance(v, bool), "true or false")


def parse_parameters(layer: str, text: str, schema: Mapping[str, Parameter]) -> dict[str, Any]:
    """Values of a layer's JSON ``param_str``, defaults filled in.

    Parameters
    ----------
    layer : str
        Name for messages.
    text : str
        A JSON object; empty counts as ``{}``.
    schema : mapping of str to Parameter

    Raises
    ------
    LayerError
        If the text is no JSON object, a key is unknown or a value is bad; the
        message names layer and key.
    """
    try:
        given = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise LayerError(f"{layer}: param_str is not JSON ({error}): {text}") from None
    if not isinstance(given, dict):
        raise LayerError(f"{layer}: param_str must be a JSON object, not {text}")
    for key, value in given.items():
        if key not in schema:
            raise LayerError(
                f"{layer}: param_str has an unknown key '{key}'; known are {', '.join(schema)}"
            )
        if not schema[key].accepts(value):
            raise LayerError(
                f"{layer}: param_str key '{key}' must be {schema[key].expected}, "
                f"not {json.dumps(value)}"
            )
    return {key: given.get(key, parameter.default) for key, parameter in schema.items()}


def check_blobs(layer: str, blobs: Any, expected: int, what: str) -> None:
    """Raise LayerError unless a layer has `expected` bottoms or tops."""
    if len(blobs) != expected:
        raise LayerError(f"{layer}: needs {expected} {what}, got {len(blobs)}")


def _runs_inside_caffe() -> bool:
    """True in the `caffe` program, which embeds Python (False in pycaffe)."""
    executable = Path("/proc/self/exe")
    return executable.exists() and executable.resolve().name == "caffe"


def _log_to_standard_error() -> None:
    """Show everything that the layers log, as it is: in the `caffe` program nobody else does."""
    package = logging.getLogger(__package__)
    package.addHandler(logging.StreamHandler())
    package.setLevel(logging.INFO)
    package.propagate = False


if _runs_inside_caffe():
    _log_to_standard_error()


def fail(error: Exception) -> NoReturn:
    """Report an error of a layer.

    In Python it is raised.  Inside the `caffe` program an exception would
    unwind into C++ that does not catch it, and the user would see an abort
    and a stack trace instead of the message: there the sentence is logged
    and the process ends with status 1.
    """
    if _runs_inside_caffe():
        logger.critical("caffe: %s", error)
        os._exit(1)
    raise error


def reported(method: Callable) -> Callable:
    """Let expected errors of a layer method end in one clear sentence.

    Others are defects.  Inside the `caffe` program, which would not report them, their
    traceback is logged, and the process ends with status 1.
    """

    @wraps(method)
    def wrapper(self, *arguments):
        try:
            return method(self, *arguments)
        except (ValueError, ArithmeticError) as error:
            if not isinstance(error, LayerError):
                error = LayerError(f"{type(self).__name__}: {error}")
            fail(error)
        except MemoryError as error:
            if _runs_inside_caffe():
                why = str(error) or "memory did not suffice"
                fail(LayerError(f"{type(self).__name__}: {why}"))
            raise
        except Exception:
            if _runs_inside_caffe():
                logger.exception("A defect in %s:", type(self).__name__)
                os._exit(1)
            raise

    return wrapper
