"""The committed sample, read once."""

from __future__ import annotations

import pytest
from checkout import ROOT

from data_prep.common.images import read_matte, read_photo
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.dataset import Dataset


@pytest.fixture(scope="session")
def sample():
    return Dataset.open(ROOT / "data/sample")


@pytest.fixture(scope="session")
def sample_landmarks(sample):
    detector = LandmarkDetector()
    return {p.stem: detector.detect(read_photo(p.photo)) for p in sample.portraits}


@pytest.fixture(scope="session")
def sample_mattes(sample):
    return {p.stem: read_matte(p.matte) for p in sample.portraits}
