"""Our changes to Caffe (tools/caffe_patches) as pycaffe shows them."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

os.environ.setdefault("GLOG_minloglevel", "2")
import caffe

CHANNELS = 3
# (kernel, stride, padding, dilation), each (rows, columns).
GEOMETRIES = [
    ((3, 3), (1, 1), (1, 1), (1, 1)),
    ((4, 4), (2, 2), (1, 1), (1, 1)),
    ((5, 3), (1, 2), (2, 0), (1, 1)),
    ((2, 5), (3, 1), (0, 4), (1, 1)),
    ((3, 3), (2, 1), (2, 3), (2, 3)),
    ((1, 1), (2, 3), (0, 0), (1, 1)),
    ((6, 6), (4, 4), (3, 1), (1, 1)),
]


# Layers whose im2col is large: channels in and out, shape, geometry.
LARGE = [
    (16, 3, (150, 200), ((3, 3), (1, 1), (1, 1), (1, 1))),
    (70, 5, (98, 83), ((3, 3), (1, 1), (2, 2), (2, 2))),
    (40, 40, (61, 301), ((5, 3), (2, 1), (2, 0), (1, 3))),
    (9, 2, (40, 3000), ((2, 3), (1, 1), (5, 1), (1, 1))),
    (480, 30, (34, 40), ((3, 3), (1, 1), (1, 1), (1, 1))),
    (120, 4, (70, 66), ((4, 4), (2, 1), (3, 2), (1, 1))),
]
# Those that go through Winograd's filtering, with tiles cut off at the borders.
SQUARE = (3, 3), (1, 1)
FILTERED = [
    (64, 64, (60, 61), SQUARE + ((1, 1), (1, 1))),
    (32, 40, (50, 47), SQUARE + ((0, 2), (1, 1))),
    (128, 33, (37, 50), SQUARE + ((1, 1), (1, 1))),
    (40, 64, (100, 31), SQUARE + ((3, 1), (1, 1))),
    (33, 32, (300, 161), SQUARE + ((1, 1), (1, 1))),
]
# Of the largest value: how sums may be rounded.
ROUNDING = 2e-6
ROUNDING_FILTERED = 3e-5


def net_of(
    kind: str, shape, channels: int, groups: int, geometry, folder, outputs: int | None = None
) -> caffe.Net:
    """A net of one layer, by default with as many output channels as input channels."""
    names = ("kernel", "stride", "pad")
    sizes = " ".join(
        f"{name}_{axis}: {value}"
        for name, values in zip(names, geometry)
        for axis, value in zip("hw", values)
    )
    dilation = " ".join(f"dilation: {each}" for each in geometry[3])
    dims = " ".join(f"dim: {each}" for each in (2, channels, *shape))
    outputs = outputs or channels
    path = folder / "net.prototxt"
    path.write_text(f"""force_backward: true
      layer {{ name: "in" type: "Input" top: "in" input_param {{ shape {{ {dims} }} }} }}
      layer {{ name: "out" type: "{kind}" bottom: "in" top: "out"
        convolution_param {{ num_output: {outputs} group: {groups} {sizes} {dilation} }} }}
    """)
    return caffe.Net(str(path), caffe.TEST)


def matrix_of(weights: np.ndarray, shape, output_shape, geometry) -> np.ndarray:
    """The matrix of a convolution of one channel, from its definition."""
    matrix = np.zeros((*output_shape, *shape))
    _, stride, pad, dilation = geometry
    for place in np.ndindex(*output_shape):
        for tap in np.ndindex(*weights.shape):
            row, column = (
                place[axis] * stride[axis] - pad[axis] + tap[axis] * dilation[axis]
                for axis in (0, 1)
            )
            if 0 <= row < shape[0] and 0 <= column < shape[1]:
                matrix[place][row, column] += weights[tap]
    return matrix.reshape(np.prod(output_shape), -1)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("groups", [1, CHANNELS])
@pytest.mark.parametrize(
    ("geometry", "shape"), list(itertools.product(GEOMETRIES, [(11, 13), (9, 6), (40, 70)]))
)
def test_a_layer_computes_its_definition_and_the_transposed_one(
    tmp_path, kind, groups, geometry, shape
):
    if kind == "Deconvolution" and shape[0] == 40:
        shape = (12, 25)  # its output is as large
    net = net_of(kind, shape, CHANNELS, groups, geometry, tmp_path)
    weights, bias = (blob.data for blob in net.params["out"])
    rng = np.random.default_rng(0)
    for array in (weights, bias, net.blobs["in"].data, net.blobs["out"].diff):
        array[...] = rng.normal(size=array.shape)
    net.forward()
    net.backward()
    given, result = net.blobs["in"], net.blobs["out"]

    def part_of(output: int, channel: int) -> np.ndarray:
        """The matrix from an input channel to an output channel."""
        small, large = shape, result.data.shape[2:]
        if kind == "Convolution":
            return matrix_of(
                weights[output, channel % (CHANNELS // groups)], small, large, geometry
            )
        taps = weights[channel, output % (CHANNELS // groups)]
        return matrix_of(taps, large, small, geometry).T

    every = range(CHANNELS)
    pairs = [(o, c) for o in every for c in every if groups == 1 or o == c]
    matrices = {pair: part_of(*pair) for pair in pairs}
    for image in range(2):
        expected = np.repeat(bias[:, None], result.data[0, 0].size, axis=1)
        transposed = np.zeros((CHANNELS, given.data[0, 0].size))
        for (output, channel), matrix in matrices.items():
            expected[output] += matrix @ given.data[image, channel].ravel()
            transposed[channel] += matrix.T @ result.diff[image, output].ravel()
        found = result.data[image].reshape(CHANNELS, -1)
        np.testing.assert_allclose(found, expected, atol=5e-5)
        found = given.diff[image].reshape(CHANNELS, -1)
        np.testing.assert_allclose(found, transposed, atol=5e-5)


def taps_of(padded: np.ndarray, output_shape, geometry):
    """What each element of a kernel sees of padded images (N, C, H, W), as a view."""
    kernel, stride, _, dilation = geometry
    for tap in np.ndindex(*kernel):
        rows, columns = (
            slice(begin := tap[axis] * dilation[axis], begin + step * (count - 1) + 1, step)
            for axis, (step, count) in enumerate(zip(stride, output_shape))
        )
        yield tap, padded[:, :, rows, columns]


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(
    ("case", "rounding"),
    [(case, ROUNDING) for case in LARGE] + [(case, ROUNDING_FILTERED) for case in FILTERED],
)
def test_a_large_layer_and_its_gradients_are_those_of_its_definition(
    tmp_path, kind, case, rounding
):
    channels, outputs, shape, geometry = case
    # The layer is linear: C x, or C'x for a deconvolution, whose output is what C takes.
    deconvolution = kind == "Deconvolution"
    kernel, stride, pad, dilation = geometry
    if deconvolution:
        small = [
            (side + 2 * p - d * (k - 1) - 1) // step + 1
            for side, k, step, p, d in zip(shape, kernel, stride, pad, dilation)
        ]
        net = net_of(kind, small, outputs, 1, geometry, tmp_path, channels)
    else:
        net = net_of(kind, shape, channels, 1, geometry, tmp_path, outputs)
    weights, bias = net.params["out"]
    given, result = net.blobs["in"], net.blobs["out"]
    rng = np.random.default_rng(0)
    for array in (weights.data, bias.data, given.data, result.diff):
        array[...] = rng.normal(size=array.shape)
    bias.data[...] = 0
    net.forward()
    weights.diff[...] = 0
    net.backward()

    image, back = (result.diff, result.data) if deconvolution else (given.data, given.diff)
    answer, forth = (given.data, given.diff) if deconvolution else (result.diff, result.data)
    margins = [(0, 0), (0, 0), *((p, p) for p in pad)]
    padded = np.pad(image.astype(np.float64), margins)
    returned = np.zeros_like(padded)
    sums, gradient = np.zeros(forth.shape), np.zeros(weights.diff.shape)
    for (tap, seen), (_, place) in zip(
        taps_of(padded, answer.shape[2:], geometry), taps_of(returned, answer.shape[2:], geometry)
    ):
        matrix = weights.data[(..., *tap)].astype(np.float64)  # outputs of C by its inputs
        sums += np.einsum("oc,nchw->nohw", matrix, seen, optimize=True)
        place += np.einsum("oc,nohw->nchw", matrix, answer, optimize=True)
        gradient[(..., *tap)] = np.einsum("nohw,nchw->oc", answer, seen, optimize=True)
    inside = tuple(slice(p, p + side) for p, side in zip(pad, image.shape[2:]))
    for found, expected in (
        (forth, sums),
        (back, returned[(..., *inside)]),
        (weights.diff, gradient),
    ):
        np.testing.assert_allclose(found, expected, atol=rounding * np.abs(expected).max())


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("axes", [1, 2])
def test_a_scale_multiplies_along_its_axes_and_so_do_its_gradients(tmp_path, axis, axes):
    shape = (2, 3, 5, 7)
    axes = min(axes, 4 - axis)
    path = tmp_path / "net.prototxt"
    dims = " ".join(f"dim: {each}" for each in shape)
    path.write_text(f"""force_backward: true
      layer {{ name: "in" type: "Input" top: "in" input_param {{ shape {{ {dims} }} }} }}
      layer {{ name: "out" type: "Scale" bottom: "in" top: "out"
        scale_param {{ axis: {axis} num_axes: {axes} bias_term: true }} }}
    """)
    net = caffe.Net(str(path), caffe.TEST)
    factors, offsets = net.params["out"]
    given, result = net.blobs["in"], net.blobs["out"]
    random = np.random.default_rng(0)
    for array in (factors.data, offsets.data, given.data, result.diff):
        array[...] = random.normal(size=array.shape)
    net.forward()
    net.backward()
    broadcast = tuple(
        side if axis <= index < axis + axes else 1 for index, side in enumerate(shape)
    )
    factor, offset = (blob.data.reshape(broadcast) for blob in (factors, offsets))
    summed = tuple(index for index, side in enumerate(broadcast) if side == 1)
    np.testing.assert_allclose(result.data, given.data * factor + offset, atol=1e-6)
    np.testing.assert_allclose(given.diff, result.diff * factor, atol=1e-6)
    wanted = (given.data * result.diff).sum(axis=summed)
    np.testing.assert_allclose(factors.diff.reshape(wanted.shape), wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(
    ("channels", "groups", "shape", "geometry"),
    [(7, 7, (20, 30), GEOMETRIES[1]), (33, 1, (80, 75), SQUARE + ((1, 1), (1, 1)))],
)
def test_a_layer_has_the_same_bytes_for_any_number_of_threads(
    tmp_path, kind, channels, groups, shape, geometry
):
    net_of(kind, shape, channels, groups, geometry, tmp_path)
    program = (
        "import hashlib, sys, caffe, numpy as np\n"
        "net = caffe.Net(sys.argv[1], caffe.TRAIN)\n"
        "random = np.random.default_rng(0)\n"
        "blobs = *net.params['out'], net.blobs['in']\n"
        "for array in (*(blob.data for blob in blobs), net.blobs['out'].diff):\n"
        "    array[...] = random.normal(size=array.shape)\n"
        "net.forward()\n"
        "net.backward()\n"
        "found = [net.blobs['out'].data, *(blob.diff for blob in blobs)]\n"
        "print(hashlib.sha256(b''.join(each.tobytes() for each in found)).hexdigest())\n"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program, tmp_path / "net.prototxt"],
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in (1, 2, 5)
    }
    assert len(digests) == 1, digests


def test_scikit_image_is_loaded_where_it_is_used_first():
    program = (
        "import sys, caffe\n"
        "assert 'skimage' not in sys.modules and 'scipy.ndimage' not in sys.modules\n"
        "assert callable(caffe.io.load_image) and 'skimage' in sys.modules\n"
        "assert issubclass(caffe.Classifier, caffe.Net)\n"
        "assert issubclass(caffe.Detector, caffe.Net)\n"
        "try:\n    caffe.nothing\n"
        "except AttributeError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.stdout == "module 'caffe' has no attribute 'nothing'\n", run.stderr
