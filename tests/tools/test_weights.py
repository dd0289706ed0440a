"""The trained weights that are part of the repository."""

from __future__ import annotations

import numpy as np

from data_prep.common.assets import fetch
from data_prep.common.images import read_photo
from tools.matting.models import MODELS
from tools.matting.predictor import Predictor
from tools.matting.session import MattingSession

PORTRAIT = MODELS["portrait"]


def test_they_are_small():
    assert PORTRAIT.weights.stat().st_size + PORTRAIT.shape_mask.stat().st_size < 3e6


def test_they_matte_a_person():
    photo = np.ascontiguousarray(read_photo(fetch("astronaut"))[:300, 60:360])
    predictor = Predictor("portrait")
    assert 10 < predictor.lambda_ < 1000
    matte = MattingSession(predictor).matte(photo)
    assert matte.faces and matte.person_found
    assert matte.alpha[60:290, 140:190].min() > 0.95
    assert matte.alpha[:100, 255:].max() < 0.05
