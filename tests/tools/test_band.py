"""The unknown band: where it is, and what colors may say in it."""

from __future__ import annotations

import numpy as np

from caffe_layers.matting import solve_alpha
from tools.matting.band import (
    BELIEF_SCALE,
    BELIEF_WEIGHT,
    COLOR_WEIGHT,
    WELL_INSIDE,
    Face,
    color_opinion,
    faces_of_people,
    lean_to_belief,
    probabilities_from_scores,
    reached,
    softmax_at,
    well_inside,
    widened,
)
from tools.matting.face_boxes import FaceBox


def test_band_is_wide_at_the_head_and_follows_its_size():
    rows, columns = np.mgrid[:200, :160]
    logit = np.float32(np.hypot(rows - 70, columns - 80) < 40)
    logit[110:, 30:130] = 1
    logit = 20 * logit - 10

    def band(eyes: float) -> np.ndarray:
        low, high = widened(logit, [Face(x=80, y=65, eyes=eyes, chin=65 + 1.2 * eyes)])
        return (low < 0) & (high > 0)

    small, large = band(20), band(40)
    head, shoulders = np.s_[10:40, 80], np.s_[180, :60]
    assert small[head].sum() > small[shoulders].sum()
    assert large[head].sum() > 1.5 * large[shoulders].sum()
    assert large[head].sum() > 1.5 * small[head].sum()
    assert large[shoulders].sum() > small[shoulders].sum()


def test_band_is_wide_where_hair_is():
    rows, columns = np.mgrid[:200, :160]
    logit = np.where(np.abs(columns - 80) < 40, 10, -10).astype(np.float32)
    faces = [Face(x=80, y=30, eyes=40, chin=80)]  # the head ends above row 92

    def widths(hair: np.ndarray | None, faces=faces) -> np.ndarray:
        """Pixels of the band in every row, inwards and outwards on the left."""
        low, high = widened(logit, faces, hair=hair)
        band = (low < 0) & (high > 0) & (columns < 80)
        return np.stack([(band & (logit > 0)).sum(axis=1), (band & (logit < 0)).sum(axis=1)])

    hair = (rows > 50) & (rows < 150)
    guessed, told = widths(None), widths(hair)
    head, long_hair, below = np.s_[:, 10], np.s_[:, 120], np.s_[:, 180]
    np.testing.assert_array_equal(guessed[head], told[long_hair])
    np.testing.assert_array_equal(guessed[long_hair], guessed[below])
    np.testing.assert_array_equal(told[below], guessed[below])
    assert told[head][1] < guessed[head][1]  # a face without hair
    assert told[below][1] < told[head][1]
    bald = widths(np.zeros_like(hair))
    np.testing.assert_array_equal(bald[long_hair], bald[below])
    faceless = widths(hair, faces=[])
    assert (faceless[long_hair] > faceless[below]).all()


def test_disks_are_not_cut_off_at_a_region():
    """Inside of a region extremes are those that disks over the whole image find."""
    rng = np.random.default_rng(5)
    logit = rng.normal(size=(90, 70)).astype(np.float32)
    hair = np.zeros(logit.shape, bool)
    hair[30:40, 20:50] = hair[80:, 60:] = True
    anywhere = np.ones_like(hair)
    face = [Face(x=-900, y=-900, eyes=30, chin=-900)]  # its head is outside of the image
    for found, wide, narrow in zip(
        *(widened(logit, face, hair=h) for h in (hair, anywhere, ~anywhere))
    ):
        np.testing.assert_array_equal(found[hair], wide[hair])
        np.testing.assert_array_equal(found[~hair], narrow[~hair])


def test_scores_are_interpolated_before_the_softmax():
    scores = np.zeros((3, 1, 2), np.float32)
    scores[0] = [[-100, 100]]
    foreground, background, unknown = softmax_at(scores, (1, 8))
    # Between them the score crosses 0 half-way, and steeply.
    np.testing.assert_allclose(foreground[0, :3], 0, atol=1e-8)
    np.testing.assert_allclose(foreground[0, 5:], 1, atol=1e-8)
    np.testing.assert_allclose(foreground + background + unknown, 1, atol=1e-6)


def test_only_parts_that_touch_are_reached():
    region = np.array([[1, 1, 0, 0, 1], [0, 0, 0, 0, 1], [1, 0, 0, 0, 0]], bool)
    other = np.zeros_like(region)
    assert not reached(region, other).any()
    other[1, 3] = True
    expected = np.zeros_like(region)
    expected[:2, 4] = True
    np.testing.assert_array_equal(reached(region, other), expected)


def test_colors_make_no_holes_inside_a_person():
    """An island of doubt as gray as the background, in the middle of a red person."""
    photo = np.full((80, 80, 3), 128, np.uint8)
    photo[20:60, 20:60] = (20, 20, 220)
    photo[36:44, 36:44] = 128
    winner = np.full((80, 80), 1)
    winner[16:64, 16:64] = 2  # the band
    winner[24:56, 24:56] = 0
    winner[36:44, 36:44] = 2  # the island
    scores = np.float32(winner == np.arange(3)[:, None, None])
    foreground, background = color_opinion(photo, scores, np.float32(10 - 20 * (winner == 1)), [])
    island, band = np.s_[36:44, 36:44], np.s_[18, 30:50]
    assert np.all(foreground[island] == 0) and np.all(background[island] == 0)
    assert np.all(background[band] > 0.1 * COLOR_WEIGHT)  # elsewhere they speak


def test_well_inside_is_so_far_from_what_is_not_certain():
    logit = np.full((120, 100), -50, np.float32)
    logit[20:, 20:80] = 50  # goes on below the photo
    logit[40, 50] = 5  # a person, but not certainly
    face = Face(x=50, y=40, eyes=20, chin=60)
    inside = well_inside(logit, [face])
    radius = WELL_INSIDE * face.eyes
    rows, columns = np.mgrid[:120, :100]
    depth = np.minimum(rows - 19, np.minimum(columns - 19, 80 - columns))
    depth = np.where(depth > 0, np.minimum(depth, np.hypot(rows - 40, columns - 50)), 0)
    # OpenCV's distances are off by up to 2 %.
    assert inside[depth > 1.03 * radius].all() and not inside[depth < 0.97 * radius].any()
    assert inside[-1, 50]


def test_a_second_opinion_closes_what_is_doubted_well_inside_a_person():
    photo = np.zeros((120, 100, 3), np.uint8)
    scores = np.zeros((3, 120, 100), np.float32)
    scores[1] = 10
    scores[:, 10:, 10:90] = np.float32([10, -10, 0])[:, None, None]
    scores[:, 60:, :50] = np.float32([-3, -3, 8])[:, None, None]  # a doubted half
    scores[:, 80:90, 60:70] = np.float32([-9, 9, 0])[:, None, None]  # a hole
    logit = np.full((120, 100), -50, np.float32)
    logit[10:, 10:90] = 50
    alone = probabilities_from_scores(photo, scores, (), (240, 200))
    both = probabilities_from_scores(photo, scores, (), (240, 200), logit)
    assert alone[0, 180, 90] < 0.01 < 0.99 < both[0, 180, 90]
    assert alone[0, 170, 130] < 0.01 < 0.99 < both[0, 170, 130]
    # Near the segmenter's border the net is believed.
    np.testing.assert_array_equal(both[:, :, :24], alone[:, :, :24])


def test_a_second_opinion_brings_no_bystander_back():
    photo = np.zeros((120, 100, 3), np.uint8)
    scores = np.zeros((3, 120, 100), np.float32)
    scores[1] = 10
    scores[:, 30:, 50:] = np.float32([10, -10, 0])[:, None, None]
    logit = np.full((120, 100), 50, np.float32)  # the neighbor on the left is a person too
    logit[:15] = -50
    alone = probabilities_from_scores(photo, scores, (), (240, 200))
    both = probabilities_from_scores(photo, scores, (), (240, 200), logit)
    assert well_inside(logit, ())[100, 20]
    # Scores are enlarged: the person may gain a pixel.
    np.testing.assert_array_equal(both[:, :, :98], alone[:, :, :98])


def test_faces_of_people_have_their_eyes_in_the_person():
    person = np.full((60, 40), -5, np.float32)
    person[10:, 5:20] = 5
    face, poster = (
        FaceBox(np.array([at - 20, at - 20, at + 20, at + 20]), np.full((6, 2), at), 0.9)
        for at in (100.0, 350.0)
    )
    kept = faces_of_people(person, [face, poster], (600, 400))  # ten times as large
    assert len(kept) == 1 and kept[0] is face
    assert faces_of_people(-person, [face, poster], (600, 400))[0] is poster


def test_unknown_pixels_lean_to_what_a_segmenter_believes():
    probabilities = np.zeros((3, 8, 8), np.float32)
    probabilities[0, :, :2], probabilities[1, :, 6:], probabilities[2, :, 2:6] = 1, 1, 1
    logit = np.repeat(np.float32([[9, 9, 2, 2, -2, -2, -9, -9]]), 8, axis=0)
    before = probabilities.copy()
    lean_to_belief(probabilities, logit)
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, rtol=1e-6)
    known = before[2] == 0
    np.testing.assert_array_equal(probabilities[:, known], before[:, known])
    person = 1 / (1 + np.exp(-2 / BELIEF_SCALE))
    foreground, background, _ = probabilities / BELIEF_WEIGHT
    np.testing.assert_allclose(foreground[:, 2:4], person, rtol=1e-3)
    np.testing.assert_allclose(background[:, 2:4], 1 - person, rtol=1e-3)
    np.testing.assert_allclose(foreground[:, 4:6], 1 - person, rtol=1e-3)


def test_a_wide_unknown_region_without_edges_is_nearer_to_what_the_segmenter_believes():
    """The solve alone fades from one side to the other."""
    columns = np.mgrid[:60, :120][1]
    photo = np.full((60, 120, 3), 120, np.uint8)
    probabilities = np.zeros((3, 60, 120), np.float32)
    probabilities[0, :, :10], probabilities[1, :, 110:], probabilities[2, :, 10:110] = 1, 1, 1
    logit = np.where(columns < 80, 6, -6).astype(np.float32)
    alone = solve_alpha(photo, *probabilities[:2])
    lean_to_belief(probabilities, logit)
    leaning = solve_alpha(photo, *probabilities[:2])
    person = logit > 0
    error, error_alone = (np.abs(alpha - person).mean() for alpha in (leaning, alone))
    assert error < 0.95 * error_alone
