"""Inputs and outputs of an ONNX file, read without a library for ONNX.

An ONNX file is one Protocol Buffers message.  Only the fields that lead to the names and
shapes of its inputs and outputs are looked into; weights are passed over by their length,
so that a file of a gigabyte is read at once.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.common.errors import InputError
from data_prep.common.files import require_file

# Numbers of the fields in onnx.proto3, by message.
MODEL_GRAPH = 7
GRAPH_INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 5, 11, 12
INITIALIZER_NAME = 8
VALUE_NAME, VALUE_TYPE = 1, 2
TYPE_TENSOR, TENSOR_SHAPE, SHAPE_DIMENSION, DIMENSION_VALUE = 1, 2, 1, 1

VARINT, EIGHT_BYTES, COUNTED, FOUR_BYTES = 0, 1, 2, 5  # wire types


@dataclass(frozen=True)
class Tensor:
    """An input or output of a graph.

    Attributes
    ----------
    name : str
    shape : tuple of int
        0 where the file leaves a dimension open.
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """What goes into a net and what comes out, in the order of the file.

    Attributes
    ----------
    inputs : tuple of Tensor
        Without the weights, which old files list among them.
    outputs : tuple of Tensor
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @classmethod
    def read(cls, path: Path) -> OnnxGraph:
        """The graph of a file.

        Raises
        ------
        InputError
            If it is missing, no ONNX file, or has no inputs or outputs.
        """
        require_file(path)
        try:
            with open(path, "rb") as stream:
                with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                    found = cls._of(content)
        except (ValueError, IndexError):  # an empty file cannot be mapped, others are cut off
            found = None
        if found is None or not found.inputs or not found.outputs:
            raise InputError(f"{path} is no ONNX file, or it is damaged; export the net again.")
        return found

    @classmethod
    def _of(cls, content: mmap.mmap) -> OnnxGraph:
        weights, inputs, outputs = set(), [], []
        for number, graph in _fields(content, (0, len(content))):
            if number != MODEL_GRAPH:
                continue
            for number, part in _fields(content, graph):
                if number == GRAPH_INITIALIZER:
                    weights.add(_text(content, part, INITIALIZER_NAME))
                elif number == GRAPH_INPUT:
                    inputs.append(_tensor(content, part))
                elif number == GRAPH_OUTPUT:
                    outputs.append(_tensor(content, part))
        return cls(tuple(each for each in inputs if each.name not in weights), tuple(outputs))


Span = tuple[int, int]  # start and end of a message in the file


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("no varint")


def _fields(content: mmap.mmap, span: Span) -> Iterator[tuple[int, Span]]:
    """Number and place of every field of a message; a varint lies at its place too."""
    at, end = span
    while at < end:
        key, at = _varint(content, at)
        kind, start = key & 7, at
        if kind == VARINT:
            _, at = _varint(content, at)
        elif kind == COUNTED:
            length, start = _varint(content, at)
            at = start + length
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if kind == EIGHT_BYTES else 4
        else:
            raise ValueError("no field")
        if at > end:
            raise ValueError("cut off")
        yield key >> 3, (start, at)


def _inside(content: mmap.mmap, span: Span, *numbers: int) -> Iterator[Span]:
    """Places of the fields at the end of a path of field numbers."""
    if not numbers:
        yield span
        return
    for number, part in _fields(content, span):
        if number == numbers[0]:
            yield from _inside(content, part, *numbers[1:])


def _text(content: mmap.mmap, span: Span, number: int) -> str:
    place = next(_inside(content, span, number), (0, 0))
    return content[slice(*place)].decode()


def _tensor(content: mmap.mmap, span: Span) -> Tensor:
    path = VALUE_TYPE, TYPE_TENSOR, TENSOR_SHAPE, SHAPE_DIMENSION
    shape = []
    for dimension in _inside(content, span, *path):
        value = next(_inside(content, dimension, DIMENSION_VALUE), None)
        shape.append(0 if value is None else _varint(content, value[0])[0])
    return Tensor(_text(content, span, VALUE_NAME), tuple(shape))
