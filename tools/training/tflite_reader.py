"""Read the weights of a TensorFlow Lite model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tflite

from data_prep.common.errors import InputError
from data_prep.common.files import require_file

_OPERATOR_NAMES = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
_NUMPY_TYPES = {
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.FLOAT32: np.float32,
}


SCALE = "MUL, ADD"


@dataclass(frozen=True)
class WeightedOperator:
    """An operator with a kernel and a bias, as stored in the model.

    Attributes
    ----------
    kind : str
        Builtin operator's name (``CONV_2D``) or custom code; `SCALE` for a product with a stored
        factor for every channel, and the sum with a stored offset behind it.
    name : str
        Name of the kernel tensor.
    kernel : ndarray
        In TensorFlow's layout, float32; the factors of a `SCALE`.
    bias : (channels,) ndarray
        Float32; the offsets of a `SCALE`.
    """

    kind: str
    name: str
    kernel: np.ndarray
    bias: np.ndarray


def _operator_kind(model: tflite.Model, operator: tflite.Operator) -> str:
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Old files keep the code in the deprecated 8-bit field.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == tflite.BuiltinOperator.CUSTOM:
        return code.CustomCode().decode()
    return _OPERATOR_NAMES[number]


def _is_float_constant(model: tflite.Model, graph: tflite.SubGraph, index: int) -> bool:
    """Whether a tensor is stored in the model and holds weights, not a shape or axes."""
    if index < 0:  # an input that is left out
        return False
    tensor = graph.Tensors(index)
    return tensor.Type() in _NUMPY_TYPES and model.Buffers(tensor.Buffer()).DataLength() > 0


def _constant(model: tflite.Model, graph: tflite.SubGraph, index: int) -> np.ndarray:
    tensor = graph.Tensors(index)
    buffer = model.Buffers(tensor.Buffer()).DataAsNumpy()
    values = np.frombuffer(buffer, _NUMPY_TYPES[tensor.Type()])
    shape = tuple(tensor.ShapeAsNumpy().tolist())
    if tensor.Sparsity() is not None:
        values = densified(values, shape, tensor.Sparsity())
    return values.reshape(shape).astype(np.float32)


def densified(
    values: np.ndarray, shape: tuple[int, ...], sparsity: tflite.SparsityParameters
) -> np.ndarray:
    """A sparse tensor with its zeros.

    The stored values are those of a tree whose levels are the dimensions in the order of
    traversal.  A node has a child for every index of a dense dimension, and those that
    ``ArrayIndices`` names, from ``ArraySegments[node]`` on, of a compressed one.

    Parameters
    ----------
    values : ndarray of shape (M,)
    shape : tuple of int
    sparsity : tflite.SparsityParameters
        Without blocks.

    Returns
    -------
    ndarray of the shape
    """
    order = sparsity.TraversalOrderAsNumpy().tolist()
    nodes = np.zeros((1, 0), np.int64)  # indices that lead to every node of a level
    for level, dimension in enumerate(order):
        metadata = sparsity.DimMetadata(level)
        if metadata.Format() == tflite.DimensionType.DENSE:
            parents = np.repeat(np.arange(len(nodes)), shape[dimension])
            children = np.tile(np.arange(shape[dimension]), len(nodes))
        else:
            segments = _indices(metadata.ArraySegmentsType(), metadata.ArraySegments())
            children = _indices(metadata.ArrayIndicesType(), metadata.ArrayIndices())
            parents = np.repeat(np.arange(len(nodes)), np.diff(segments))
        nodes = np.column_stack([nodes[parents], children])
    dense = np.zeros(shape, values.dtype)
    dense[tuple(nodes[:, np.argsort(order)].T)] = values
    return dense


def _indices(kind: int, table) -> np.ndarray:
    """An index vector of a sparse dimension, whichever width it is stored with."""
    names = {code: name for name, code in vars(tflite.SparseIndexVector).items()}
    vector = getattr(tflite, names[kind])()
    vector.Init(table.Bytes, table.Pos)
    return vector.ValuesAsNumpy().astype(np.int64)


def weighted_operators(path: Path) -> Iterator[WeightedOperator]:
    """Operators with stored weights, in the order of evaluation.

    Parameters
    ----------
    path : Path
        A float model; weights may be stored as float16.

    Yields
    ------
    WeightedOperator

    Raises
    ------
    InputError
        If the file does not exist or is no TensorFlow Lite model.
    """
    require_file(path)
    content = path.read_bytes()
    if not tflite.Model.ModelBufferHasIdentifier(content, 0):
        raise InputError(f"{path} is not a TensorFlow Lite model.")
    model = tflite.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    # Dequantized float32 tensor -> its float16 constant, sparse or not.
    stored_as: dict[int, int] = {}
    scaled = -1, "", np.empty(0)  # of the last product with stored factors: its tensor, the factors
    for position in range(graph.OperatorsLength()):
        operator = graph.Operators(position)
        kind = _operator_kind(model, operator)
        inputs = [int(index) for index in operator.InputsAsNumpy()]
        if kind in ("DENSIFY", "DEQUANTIZE"):
            stored_as[int(operator.Outputs(0))] = stored_as.get(inputs[0], inputs[0])
            continue
        stored = [stored_as.get(index, index) for index in inputs]
        stored = [index for index in stored if _is_float_constant(model, graph, index)]
        names = [graph.Tensors(index).Name().decode() for index in stored]
        constants = [_constant(model, graph, index) for index in stored]
        if len(constants) == 2:
            yield WeightedOperator(kind, names[0], *constants)
        elif kind == "MUL" and len(constants) == 1:
            scaled = int(operator.Outputs(0)), names[0], constants[0]
        elif kind == "ADD" and len(constants) == 1 and scaled[0] in inputs:
            yield WeightedOperator(SCALE, *scaled[1:], constants[0])
