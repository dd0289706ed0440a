"""Sparse tensors of TensorFlow Lite files."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest
import tflite

from tools.training.tflite_reader import densified


def vector_of(builder: flatbuffers.Builder, numbers: list[int]) -> int:
    """A `tflite.Uint8Vector`."""
    tflite.Uint8VectorStartValuesVector(builder, len(numbers))
    for number in reversed(numbers):
        builder.PrependByte(number)
    values = builder.EndVector()
    tflite.Uint8VectorStart(builder)
    tflite.Uint8VectorAddValues(builder, values)
    return tflite.Uint8VectorEnd(builder)


def compressed(
    dense: np.ndarray, order: list[int], sparse: set[int]
) -> tuple[np.ndarray, tflite.SparsityParameters]:
    """Stored values of a tensor, whose levels in `sparse` leave out what is all zero.

    Walks the tree as the format's description says, one node after the other.
    """
    turned = dense.transpose(order)
    nodes, levels = [turned], []
    for level in range(dense.ndim):
        segments, indices, children = [0], [], []
        for node in nodes:
            for index, child in enumerate(node):
                if level not in sparse or np.any(child):
                    indices.append(index)
                    children.append(child)
            segments.append(len(indices))
        levels.append((segments, indices))
        nodes = children
    builder = flatbuffers.Builder()
    metadata = []
    for level, (segments, indices) in enumerate(levels):
        if level in sparse:
            segments, indices = vector_of(builder, segments), vector_of(builder, indices)
        tflite.DimensionMetadataStart(builder)
        if level in sparse:
            tflite.DimensionMetadataAddFormat(builder, tflite.DimensionType.SPARSE_CSR)
            kind = tflite.SparseIndexVector.Uint8Vector
            tflite.DimensionMetadataAddArraySegmentsType(builder, kind)
            tflite.DimensionMetadataAddArraySegments(builder, segments)
            tflite.DimensionMetadataAddArrayIndicesType(builder, kind)
            tflite.DimensionMetadataAddArrayIndices(builder, indices)
        else:
            tflite.DimensionMetadataAddDenseSize(builder, turned.shape[level])
        metadata.append(tflite.DimensionMetadataEnd(builder))
    tflite.SparsityParametersStartDimMetadataVector(builder, len(metadata))
    for each in reversed(metadata):
        builder.PrependUOffsetTRelative(each)
    dimensions = builder.EndVector()
    tflite.SparsityParametersStartTraversalOrderVector(builder, len(order))
    for each in reversed(order):
        builder.PrependInt32(each)
    traversal = builder.EndVector()
    tflite.SparsityParametersStart(builder)
    tflite.SparsityParametersAddTraversalOrder(builder, traversal)
    tflite.SparsityParametersAddDimMetadata(builder, dimensions)
    builder.Finish(tflite.SparsityParametersEnd(builder))
    return np.array(nodes), tflite.SparsityParameters.GetRootAs(builder.Output(), 0)


@pytest.mark.parametrize(
    "order, sparse", [([0, 1, 2], {2}), ([2, 0, 1], {1, 2}), ([1, 2, 0], {0}), ([0, 1, 2], set())]
)
def test_a_sparse_tensor_gets_its_zeros_back(order, sparse):
    random = np.random.default_rng(len(sparse))
    dense = random.normal(size=(4, 3, 5)) * (random.random((4, 3, 5)) < 0.3)
    dense[2] = dense[:, 1] = dense[:, :, 3] = 0
    values, sparsity = compressed(dense, order, sparse)
    if sparse:
        assert values.size < dense.size
    np.testing.assert_array_equal(densified(values, dense.shape, sparsity), dense)
