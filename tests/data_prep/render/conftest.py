"""Fixtures of the studio's tests."""

import pytest

from data_prep.render.assets import body_data_dir
from data_prep.render.body import read_base_mesh


@pytest.fixture(scope="session")
def mesh():
    """MakeHuman's base mesh."""
    return read_base_mesh(body_data_dir())
