"""The default model: the trained net at a person's boundary, the segmenter elsewhere."""

from __future__ import annotations

import numpy as np

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from tools.matting.ensemble import BOUNDARY_WIDTH, near_boundary, near_common_boundary
from tools.matting.models import DEFAULT_MODEL
from tools.matting.session import MattingSession


def test_a_ring_around_the_boundary_is_near():
    rows, columns = np.mgrid[:300, :300]
    radius = 120.0
    distance = np.hypot(rows - 150, columns - 150) - radius
    near = near_boundary(np.float32(-distance), (300, 300))
    width = BOUNDARY_WIDTH * np.sqrt(np.pi) * radius
    assert near[np.abs(distance) < width - 1.5].all()
    assert not near[np.abs(distance) > width + 1.5].any()


def test_near_is_stretched_to_the_photo():
    logit = np.full((400, 300), -1, np.float32)
    logit[100:300, 80:220] = 1
    near = near_boundary(logit, (800, 600))
    assert near.shape == (800, 600)
    assert near[196:204, 300].all() and not near[400, 300]


def test_without_a_boundary_nothing_is_near():
    for value in (-1, 1):
        assert not near_boundary(np.full((20, 30), value, np.float32), (20, 30)).any()


def test_where_only_one_has_a_boundary_it_is_not_common():
    rows, columns = np.mgrid[:400, :300]
    # Both see a person from column 100 on; only the segmenter sees the legs below row 200.
    segmenter = np.float32(columns - 100)
    net = np.where(rows < 200, segmenter, -100).astype(np.float32)
    common = near_common_boundary(segmenter, net, (400, 300))
    assert common[50:150, 98:102].all()
    assert near_boundary(segmenter, (400, 300))[300:350, 98:102].all()
    assert not common[300:350].any()  # the segmenter's alone
    assert not common[198:202, 150:].any()  # the net's alone


def test_the_default_takes_the_trimap_of_the_net_at_the_boundary_and_with_the_segmenter_elsewhere():
    photo = np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])
    ensemble, net, segmenter = (
        MattingSession(name).estimate_trimap(photo).probabilities
        for name in (DEFAULT_MODEL, "portrait", "selfie")
    )
    from_net = np.isclose(ensemble, net, atol=1e-6).all(axis=0)
    from_segmenter = np.isclose(ensemble, segmenter, atol=1e-6).all(axis=0)
    # The rest is color's opinion in the net's band, which here goes without a second opinion.
    assert (from_net | from_segmenter).mean() > 0.95
    assert not from_net.all() and not from_segmenter.all()
    # The shoulder's edge is the net's, the corner of the room the segmenter's.
    assert from_segmenter[:20, -20:].all()
