"""The matting Laplacian against PyMatting and against its own properties."""

import numpy as np
import pymatting
import pytest

from caffe_layers.laplacian import matting_laplacian, upper_csr_pattern
from data_prep.common.assets import fetch
from data_prep.common.images import read_photo


def random_image(shape, seed):
    return np.random.default_rng(seed).random((*shape, 3))


@pytest.mark.parametrize("shape", [(3, 3), (5, 9), (64, 41), (40, 300)])
@pytest.mark.parametrize("epsilon", [1e-7, 1e-4])
def test_equals_pymatting(shape, epsilon):
    image = random_image(shape, seed=shape[1])
    ours = matting_laplacian(image, epsilon).to_csr()
    theirs = pymatting.cf_laplacian(image, epsilon)
    assert abs(ours - theirs).max() <= 1e-9 * abs(theirs).max()


def extended_precision_laplacian(image, epsilon):
    """L in 80-bit floats, window by window, straight from its definition."""
    height, width = image.shape[:2]
    index = np.arange(height * width).reshape(height, width)
    laplacian = np.zeros((height * width, height * width), np.longdouble)
    image = image.astype(np.longdouble)
    for y in range(height - 2):
        for x in range(width - 2):
            colors = image[y : y + 3, x : x + 3].reshape(9, 3)
            centered = colors - colors.mean(axis=0)
            # Gauss elimination of [cov | centered'], since LAPACK has no 80 bits
            system = np.hstack([centered.T @ centered / 9 + epsilon / 9 * np.eye(3), centered.T])
            for k in range(3):
                system[k] /= system[k, k]
                for other in range(3):
                    if other != k:
                        system[other] -= system[other, k] * system[k]
            affinity = (1 + centered @ system[:, 3:]) / 9
            pixels = index[y : y + 3, x : x + 3].ravel()
            laplacian[np.ix_(pixels, pixels)] += np.eye(9) - affinity
    return laplacian.astype(np.float64)


@pytest.mark.parametrize("gray", [False, True])
def test_exact_on_a_photo(gray):
    """Photos are full of windows whose colors lie on a line.

    There PyMatting's inverse loses digits (1e-7 of the largest entry on this
    crop), so the reference is computed in extended precision.
    """
    photo = read_photo(fetch("astronaut"))[100:124, 150:180] / 255.0
    if gray:
        photo = np.repeat(photo[..., :1], 3, axis=2)
    ours = matting_laplacian(photo).to_csr().toarray()
    exact = extended_precision_laplacian(photo, 1e-7)
    assert np.abs(ours - exact).max() <= 1e-9 * np.abs(exact).max()


def test_equals_pymatting_at_radius_2():
    image = random_image((11, 13), seed=0)
    ours = matting_laplacian(image, radius=2).to_csr()
    theirs = pymatting.cf_laplacian(image, 1e-7, radius=2)
    assert abs(ours - theirs).max() <= 1e-9 * abs(theirs).max()


@pytest.mark.parametrize("kind", ["random", "one color", "gray"])
def test_symmetric_semidefinite_with_zero_row_sums(kind):
    image = random_image((8, 9), seed=1)
    if kind == "one color":
        image[:] = 0.3
    if kind == "gray":
        image = np.repeat(image[..., :1], 3, axis=2)
    laplacian = matting_laplacian(image).to_csr()
    assert abs(laplacian - laplacian.T).max() == 0
    assert np.abs(laplacian.sum(axis=1)).max() < 1e-10
    eigenvalues = np.linalg.eigvalsh(laplacian.toarray())
    assert eigenvalues[0] > -1e-10
    assert eigenvalues[-1] > 0.1


def test_blind_to_a_constant_color_offset():
    image = random_image((30, 20), seed=2)
    offset = np.array([104.0, 116.7, 122.7]) / 255
    with_offset = matting_laplacian(image - offset).planes
    np.testing.assert_allclose(with_offset, matting_laplacian(image).planes, atol=1e-9)


@pytest.mark.parametrize("radius", [1, 2])
def test_apply_is_multiplication(radius):
    laplacian = matting_laplacian(random_image((12, 17), seed=3), radius=radius)
    x = np.random.default_rng(4).normal(size=(12, 17))
    expected = (laplacian.to_csr() @ x.ravel()).reshape(x.shape)
    np.testing.assert_allclose(laplacian.apply(x), expected, atol=1e-12)


def test_deterministic():
    image = random_image((200, 180), seed=5)
    first, second = matting_laplacian(image), matting_laplacian(image)
    assert np.array_equal(first.planes, second.planes)


@pytest.mark.parametrize(
    "image, options",
    [
        (np.zeros((2, 5, 3)), {}),
        (np.zeros((5, 5)), {}),
        (np.zeros((5, 5, 4)), {}),
        (np.zeros((4, 9, 3)), {"radius": 2}),
        (np.zeros((5, 5, 3)), {"epsilon": 0.0}),
    ],
)
def test_refuses(image, options):
    with pytest.raises(ValueError):
        matting_laplacian(image, **options)


@pytest.mark.parametrize("shape, radius", [((9, 8), 1), ((8, 9), 2)])
def test_a_pattern_of_another_radius_or_size_is_refused(shape, radius):
    laplacian = matting_laplacian(random_image((9, 8), 3), radius=2)
    indptr, _ = upper_csr_pattern(shape, radius)
    with pytest.raises(ValueError, match="stencil and pattern differ"):
        laplacian.upper_csr_values(np.zeros((9, 8)), indptr)
