from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.optimize import least_squares

from data_prep.augmentation import Augmentation
from data_prep.errors import InputError
from data_prep.shape_mask import (
    ShapeMask,
    align_matte,
    build_shape_mask,
    estimate_alignment,
    estimate_similarity,
    mean_template,
    transform_points,
)

FRAME = (80, 60)


def face(rng):
    """68 points on and in an ellipse in the middle of the frame."""
    radius = np.sqrt(rng.uniform(0.2, 1, 68))
    angle = rng.uniform(0, 2 * np.pi, 68)
    return np.column_stack([30 + 9 * radius * np.cos(angle), 35 + 12 * radius * np.sin(angle)])


def similarity(scale, degrees, shift):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1.0]])


def portraits(rng, count):
    points = face(rng)
    mattes, landmarks = [], []
    for _ in range(count):
        scale, angle = rng.uniform(0.85, 1.2), rng.uniform(-15, 15)
        matrix = similarity(scale, angle, rng.uniform(-3, 3, 2))
        landmarks.append(transform_points(matrix, points) + rng.normal(0, 0.2, (68, 2)))
        smooth = gaussian_filter(rng.normal(size=FRAME), 4)
        smooth = (smooth - smooth.min()) / np.ptp(smooth)
        mattes.append(np.rint(255 * smooth).astype(np.uint8))
    return mattes, landmarks


def bilinear(image, x, y):
    height, width = image.shape
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    x0, y0 = min(int(x), width - 2), min(int(y), height - 2)
    fx, fy = x - x0, y - y0
    top = image[y0, x0] * (1 - fx) + image[y0, x0 + 1] * fx
    bottom = image[y0 + 1, x0] * (1 - fx) + image[y0 + 1, x0 + 1] * fx
    return top * (1 - fy) + bottom * fy


def test_equation_2_pixel_by_pixel():
    mattes, landmarks = portraits(np.random.default_rng(1), 4)
    mask = build_shape_mask(mattes, landmarks)
    backward = [
        np.linalg.inv(estimate_alignment(points, mask.template, FRAME)) for points in landmarks
    ]
    height, width = FRAME
    compared = 0
    for y in range(height):
        for x in range(width):
            numerator = denominator = 0.0
            near_border = False
            for matte, matrix in zip(mattes, backward, strict=True):
                u, v, w = matrix @ [x, y, 1]
                u, v = u / w, v / w
                # Distance to the edge of the outermost pixels: m_i jumps there.
                margin = min(u + 0.5, v + 0.5, width - 0.5 - u, height - 0.5 - v)
                near_border |= abs(margin) < 0.05
                if margin > 0:
                    numerator += bilinear(matte / 255, u, v)
                    denominator += 1
            if near_border:
                continue
            if denominator:
                compared += 1
                assert mask.mean[y, x] == pytest.approx(numerator / denominator, abs=5e-3)
    assert compared > 0.8 * height * width


def test_pixels_no_portrait_covers_take_the_nearest_value():
    points = face(np.random.default_rng(0))
    # Tilted to both sides and set upright again, both miss the same corners.
    center = points.mean(axis=0)
    tilted = [
        transform_points(similarity(1.0, angle, (0, 0)), points - center) + center
        for angle in (-40, 40)
    ]
    template = mean_template(tilted)
    matte = np.full(FRAME, 255, np.uint8)
    covered = sum(
        align_matte(matte, estimate_alignment(each, template, FRAME), FRAME)[1]
        for each in tilted
    )
    assert (covered == 0).sum() > 20
    np.testing.assert_allclose(build_shape_mask([matte, matte], tilted).mean, 1)


def test_similarity_is_the_least_squares_one():
    rng = np.random.default_rng(2)
    source = face(rng)
    target = transform_points(similarity(1.4, 25, (5, -3)), source) + rng.normal(0, 1, (68, 2))

    def residual(q):
        matrix = np.array([[q[0], -q[1], q[2]], [q[1], q[0], q[3]], [0, 0, 1]])
        return (transform_points(matrix, source) - target).ravel()

    a, b, c, d = least_squares(residual, [1, 0, 0, 0]).x
    expected = [[a, -b, c], [b, a, d], [0, 0, 1]]
    np.testing.assert_allclose(estimate_similarity(source, target), expected, atol=1e-5)


def test_alignment_recovers_a_homography():
    source = face(np.random.default_rng(3))
    homography = np.array([[1.1, 0.05, 2], [-0.04, 0.95, 1], [5e-4, -4e-4, 1]])
    target = transform_points(homography, source)
    found = estimate_alignment(source, target, FRAME)
    np.testing.assert_allclose(found / found[2, 2], homography, atol=1e-3)


@pytest.mark.parametrize("perspective", [0.015, -0.015])
def test_wild_homography_falls_back_to_the_similarity(perspective):
    source = face(np.random.default_rng(3))
    shifted = source - source.mean(axis=0)
    bent = np.eye(3)
    bent[2, 0] = perspective  # fine on the face, folds within the frame
    target = transform_points(bent, shifted) + source.mean(axis=0)
    found = estimate_alignment(source, target, (800, 600))
    np.testing.assert_allclose(found, estimate_similarity(source, target))


def test_template_has_the_average_place_and_the_common_shape():
    rng = np.random.default_rng(4)
    shape = face(rng)
    sets = [
        transform_points(similarity(s, a, t), shape)
        for s, a, t in [(1.2, 10, (9, 1)), (0.8, -10, (-3, 2)), (1, 0, (0, 0))]
    ]
    template = mean_template(sets)
    back = transform_points(estimate_similarity(template, shape), template)
    np.testing.assert_allclose(back, shape, atol=1e-9)
    np.testing.assert_allclose(template.mean(axis=0), np.mean(sets, axis=(0, 1)))

    noisy = [points + rng.normal(0, 2, points.shape) for points in sets]
    back = estimate_similarity(mean_template(noisy), np.mean(noisy, axis=0))
    np.testing.assert_allclose(back, np.eye(3), atol=1e-9)


def test_warp_takes_template_landmarks_to_the_photos_landmarks():
    rng = np.random.default_rng(5)
    template = face(rng)
    mean = np.zeros(FRAME, np.float32)
    x, y = np.rint(template[7]).astype(int)
    cv2.circle(mean, (int(x), int(y)), 2, 1.0, -1)
    matrix = similarity(3.0, 30, (40, 20))
    warped = ShapeMask(mean, template).warp_to(transform_points(matrix, template), (300, 280))
    assert warped.shape == (300, 280) and warped.dtype == np.float32
    rows, columns = np.indices(warped.shape)
    center = [(each * warped).sum() / warped.sum() for each in (columns, rows)]
    expected = transform_points(matrix, np.array([[x, y]]))[0]
    np.testing.assert_allclose(center, expected, atol=0.3)


def test_body_goes_on_below_the_masks_frame():
    template = face(np.random.default_rng(6))
    mean = np.zeros(FRAME, np.float32)
    mean[50:, 20:40] = 1
    higher = transform_points(similarity(0.5, 0, (15, 0)), template)
    warped = ShapeMask(mean, template).warp_to(higher, FRAME)
    assert warped[-1, 30] == 1 and warped[0].max() == 0 and warped[-1, 0] == 0


def overlap(mask, alpha):
    inside, true = mask >= 0.5, alpha >= 0.5
    return (inside & true).sum() / (inside | true).sum()


def test_warped_mask_follows_portraits_that_are_not_in_the_middle(
    sample, sample_landmarks, sample_mattes
):
    """On portraits tilted, reduced, enlarged or moved, alignment pays.

    Sample portraits as they are all sit in the middle of the frame, where the
    mean mask lies already: there alignment can only keep what there is.
    """
    train = [p.stem for p in sample.train]
    mask = build_shape_mask(
        [sample_mattes[stem] for stem in train], [sample_landmarks[stem] for stem in train]
    )
    as_is, changed = [], []
    for portrait in sample.portraits:
        matte, points = sample_mattes[portrait.stem], sample_landmarks[portrait.stem]
        frame = matte.shape
        warped = mask.warp_to(points, frame)
        as_is.append((overlap(mask.mean, matte / 255), overlap(warped, matte / 255)))
        for change in [
            Augmentation("tilt", angle=22),
            Augmentation("reduce", scale=0.6),
            Augmentation("enlarge", scale=1.5),
        ]:
            matrix = change.matrix(frame)
            matrix[0, 2] += 40
            alpha = cv2.warpAffine(matte, matrix, frame[::-1], borderMode=cv2.BORDER_REPLICATE)
            warped = mask.warp_to(points @ matrix[:, :2].T + matrix[:, 2], frame)
            changed.append((overlap(mask.mean, alpha / 255), overlap(warped, alpha / 255)))
    unwarped, warped = np.mean(changed, axis=0)
    assert warped > unwarped + 0.08
    unwarped, warped = np.mean(as_is, axis=0)
    assert warped > 0.8 and warped > unwarped - 0.02


def test_saved_mask_reads_back(tmp_path):
    mattes, landmarks = portraits(np.random.default_rng(7), 2)
    mask = build_shape_mask(mattes, landmarks)
    mask.save(tmp_path / "mask.npz")
    again = ShapeMask.load(tmp_path / "mask.npz")
    np.testing.assert_array_equal(again.mean, mask.mean)
    np.testing.assert_array_equal(again.template, mask.template)


@pytest.mark.parametrize("content", [None, b"text", b""])
def test_bad_mask_file_is_named(tmp_path, content):
    path = tmp_path / "mask.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="mask.npz"):
        ShapeMask.load(path)


def test_other_arrays_are_no_mask(tmp_path):
    np.savez(tmp_path / "mask.npz", mean=np.zeros(3), template=np.zeros((68, 2)))
    with pytest.raises(InputError, match="no shape mask"):
        ShapeMask.load(tmp_path / "mask.npz")


def test_nothing_to_average():
    with pytest.raises(InputError, match="No training portrait"):
        build_shape_mask([], [])


def test_mattes_of_several_sizes():
    points = face(np.random.default_rng(8))
    with pytest.raises(InputError, match="60x80 and 50x80"):
        build_shape_mask(
            [np.zeros((80, 60), np.uint8), np.zeros((80, 50), np.uint8)], [points, points]
        )
