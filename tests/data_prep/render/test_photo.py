"""Files of a portrait, and the composite that can be made again from them."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo
from data_prep.render.shot.background import render_background
from data_prep.render.shot.compositing import develop_background, quantized
from data_prep.render.shot.photo import (
    develop,
    read_foreground,
    read_meta,
    take_photo,
    write_foreground,
    write_photo,
)
from data_prep.render.shot.portrait import choose_portrait


@pytest.fixture(scope="module")
def choice():
    """A photo before a painted wall, by a camera without faults."""
    drawn = choose_portrait(0, 0, 4)
    return replace(
        drawn,
        background=replace(drawn.background, kind="wall", detail="", bystanders=0),
        development=replace(drawn.development, noise=0.0, jpeg_quality=100),
    )


@pytest.fixture(scope="module")
def rendered():
    """A soft ball: premultiplied color and its coverage, as the passes give them."""
    y, x = np.mgrid[:80, :60]
    coverage = np.clip((22 - np.hypot(x - 30, y - 40)) / 6 + 0.5, 0, 1).astype(np.float32)
    shade = 0.3 + 0.01 * (60 - x)
    light = shade[..., None] * np.array([0.9, 0.6, 0.4])
    color = np.dstack([coverage[..., None] * light, coverage]).astype(np.float32)
    return color, coverage


def developed(choice, rendered, bits=8):
    color, coverage = rendered
    return develop(color, coverage, (30, 40, 8), 0.2, choice.development, bits)


@pytest.mark.parametrize("bits", [8, 16])
def test_the_photo_can_be_made_again_from_the_files(tmp_path, choice, rendered, mesh, bits):
    foreground = developed(choice, rendered, bits)
    photo = take_photo(foreground, choice.background, choice.development, mesh)
    write_foreground(tmp_path / "foreground.png", foreground)
    files = write_photo(tmp_path, "p", photo, foreground.matte, {}, ".png")
    delivered = read_foreground(tmp_path / "foreground.png")
    background = render_background(choice.background, (80, 60), delivered.hair_color, mesh)
    behind = quantized(develop_background(background, choice.development)).astype(float)
    alpha = delivered.matte[..., None] / (2.0**bits - 1)
    again = alpha * delivered.colors + (1 - alpha) * behind
    assert np.abs(read_photo(tmp_path / files[0])[:, :, ::-1] - again).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("bits", [8, 16])
def test_mattes_are_exact_to_their_bits(tmp_path, choice, rendered, bits):
    foreground = developed(choice, rendered, bits)
    levels = 2.0**bits - 1
    assert np.abs(foreground.matte - levels * rendered[1]).max() <= 0.51
    write_photo(tmp_path, "p", np.zeros((80, 60, 3), np.uint8), foreground.matte, {}, ".jpg")
    np.testing.assert_allclose(
        read_matte(tmp_path / "mattes/p.png"), np.rint(255 * rendered[1]), atol=1
    )


def test_foregrounds_come_back(tmp_path, choice, rendered):
    foreground = developed(choice, rendered)
    write_foreground(tmp_path / "f.png", foreground)
    back = read_foreground(tmp_path / "f.png")
    np.testing.assert_array_equal(back.colors, foreground.colors)
    np.testing.assert_array_equal(back.matte, foreground.matte)


def test_metadata_comes_back(tmp_path):
    write_photo(
        tmp_path,
        "p",
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((4, 4), np.uint8),
        {"b": [1, 2.5]},
        ".jpg",
    )
    assert read_meta(tmp_path, "p") == {"b": [1, 2.5]}


def test_missing_files_are_named(tmp_path):
    with pytest.raises(InputError, match="q.json is missing"):
        read_meta(tmp_path, "q")
    with pytest.raises(InputError, match="q.png is no foreground"):
        read_foreground(tmp_path / "q.png")
