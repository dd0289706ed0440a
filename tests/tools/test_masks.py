"""IoU and boundary IoU against their definitions, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from tools.evaluation.masks import RIM_WIDTH, MaskErrors, boundary_iou, inner_rim, iou

SHAPES = [(17, 23), (40, 12)]


def blobs(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """A mask with an outline, holes, specks, and parts at the border of the picture."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    disk = (y - shape[0] * rng.random()) ** 2 + (x - shape[1] / 2) ** 2 < (min(shape) / 2) ** 2
    return disk ^ (rng.random(shape) < 0.05)


def rim_by_definition(mask: np.ndarray, width: int) -> np.ndarray:
    """Foreground with a background pixel, or the outside, at most `width` rows and columns off."""
    rim = np.zeros_like(mask)
    rows, columns = mask.shape
    for row, column in np.argwhere(mask):
        for r in range(row - width, row + width + 1):
            for c in range(column - width, column + width + 1):
                outside = not (0 <= r < rows and 0 <= c < columns)
                rim[row, column] |= outside or not mask[r, c]
    return rim


def iou_by_definition(mask: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    both = either = 0
    for a, b, counted in zip(mask.ravel(), truth.ravel(), region.ravel()):
        both += int(counted and a and b)
        either += int(counted and (a or b))
    return both / either


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_rim_is_that_of_the_definition(shape, width):
    mask = blobs(shape, np.random.default_rng(11))
    np.testing.assert_array_equal(inner_rim(mask, width), rim_by_definition(mask, width))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_both_measures_are_those_of_their_definitions(shape, share):
    rng = np.random.default_rng(12)
    mask, truth, region = blobs(shape, rng), blobs(shape, rng), rng.random(shape) < share
    assert iou(mask, truth, region) == iou_by_definition(mask, truth, region)
    for rim_width in (RIM_WIDTH, 0.15):
        width = max(1, round(rim_width * np.hypot(*shape)))
        rims = (rim_by_definition(each, width) for each in (mask, truth))
        found = boundary_iou(mask, truth, region, rim_width)
        assert found == iou_by_definition(*rims, region)


def test_the_rim_is_2_percent_of_the_diagonal_wide():
    mask = np.ones((300, 400), bool)  # the diagonal is 500 pixels
    np.testing.assert_array_equal(
        np.flatnonzero(~inner_rim(mask, round(RIM_WIDTH * 500))[150]), np.arange(10, 390)
    )
    smaller = np.zeros_like(mask)
    smaller[10:-10, 10:-10] = True  # disjoint rims, though nearly everything is shared
    assert boundary_iou(smaller, mask) == 0 and iou(smaller, mask) > 0.88


def test_equal_masks_have_1_and_disjoint_ones_0():
    mask = blobs((30, 30), np.random.default_rng(13))
    empty = np.zeros_like(mask)
    assert iou(mask, mask) == boundary_iou(mask, mask) == 1
    assert iou(mask, empty) == boundary_iou(mask, empty) == 0
    assert iou(empty, empty) == boundary_iou(empty, empty) == 1


def test_a_matte_is_a_mask_from_one_half_on():
    truth = np.zeros((20, 20))
    truth[:, 10:] = 1
    soft = np.where(truth > 0, 0.5, 0.499)
    assert MaskErrors.of(soft, truth) == MaskErrors(1, 1)


def test_masks_of_different_shapes_are_no_pair():
    with pytest.raises(ValueError, match="not a pair"):
        iou(np.ones((3, 4), bool), np.ones((4, 3), bool))
