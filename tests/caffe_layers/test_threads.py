"""Images of a batch beside each other: the same bits as one after another."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threads import openmp_threads

from caffe_layers import _laplacian
from caffe_layers.laplacian import matting_laplacian
from caffe_layers.matting import MattingFunction
from caffe_layers.threads import calls_at_once, map_in_threads

IMAGES, SIZE = 5, (90, 70)


def solved(map_function):
    """Mattes and gradients of a batch, whose images have unknown regions of their own."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 1, (IMAGES, *SIZE, 3))
    probabilities = rng.dirichlet([1, 1, 1], (IMAGES, *SIZE))
    probabilities *= rng.uniform(size=(IMAGES, *SIZE, 1)) < 0.3
    gradients = rng.normal(size=(IMAGES, *SIZE))
    functions = [MattingFunction() for _ in range(IMAGES)]

    def forward(n):
        foreground, background, _ = np.moveaxis(probabilities[n], 2, 0)
        return functions[n].forward(matting_laplacian(images[n]), foreground, background)

    mattes = map_function(forward, range(IMAGES))
    backward = map_function(lambda n: functions[n].backward(gradients[n]), range(IMAGES))
    return mattes, backward


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_mattes_and_gradients_are_bit_equal_to_those_of_one_image_after_another(threads):
    with openmp_threads(1):
        mattes, gradients = solved(lambda function, numbers: list(map(function, numbers)))
    with openmp_threads(threads):
        found, found_gradients = solved(map_in_threads)
    np.testing.assert_array_equal(found, mattes)
    for ours, theirs in zip(found_gradients, gradients, strict=True):
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, other)


def test_as_many_images_at_once_as_threads_and_each_has_its_share_of_them():
    with openmp_threads(4):
        assert [calls_at_once(n) for n in (1, 3, 4, 9)] == [1, 3, 4, 4]
        shares = map_in_threads(lambda n: (threading.get_ident(), _laplacian.threads()), range(2))
    assert {share for _, share in shares} == {2}
    assert threading.get_ident() not in {thread for thread, _ in shares}
    assert map_in_threads(lambda n: threading.get_ident(), [7]) == [threading.get_ident()]


def test_the_error_of_an_image_is_raised_and_the_threads_go_on():
    def fail_at_two(n):
        if n == 2:
            raise ArithmeticError(f"image {n}")
        return n

    with openmp_threads(2):
        with pytest.raises(ArithmeticError, match="image 2"):
            map_in_threads(fail_at_two, range(4))
        assert map_in_threads(lambda n: n * n, range(4)) == [0, 1, 4, 9]
