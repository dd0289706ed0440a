from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from caffe_layers.weighted_loss import load_alpha_distribution
from data_prep.caffe_data.alpha_distribution import (
    alpha_distribution,
    count_alphas,
    draw_alpha_distribution,
    foreground_share,
    fractional_share,
    save_alpha_distribution,
)
from data_prep.common.errors import InputError


def test_smoothed_histogram_plus_one_a_bin():
    rng = np.random.default_rng(0)
    mattes = [rng.integers(0, 256, (7, 9), dtype=np.uint8), np.full((3, 4), 255, np.uint8)]
    p = alpha_distribution(map(count_alphas, mattes))
    pixels = np.concatenate([matte.ravel() for matte in mattes])
    counts = np.array([(pixels == value).sum() for value in range(256)], np.float64)
    counts[1:-1] = gaussian_filter1d(counts[1:-1], 2, mode="reflect")
    np.testing.assert_allclose(p, (counts + 1) / (pixels.size + 256), rtol=1e-9)
    assert p.sum() == pytest.approx(1, abs=1e-12)


def test_a_comb_is_smoothed_and_the_ends_are_kept():
    """Mattes of 192 samples a pixel have no value k where 192 k / 255 skips one."""
    counts = np.zeros(256)
    counts[np.rint(np.arange(193) * 255 / 192).astype(int)] = 1e4
    counts[0], counts[-1] = 4e6, 5e6
    p = alpha_distribution([counts])
    assert p[1:-1].max() < 1.2 * p[1:-1].min()
    assert p[[0, -1]] * (counts.sum() + 256) == pytest.approx(counts[[0, -1]] + 1)


def test_values_that_never_occur_keep_a_probability():
    p = alpha_distribution([count_alphas(np.zeros((20, 20), np.uint8))])
    assert p.shape == (256,) and p.dtype == np.float64 and p.min() > 0


def test_the_fractional_share_of_one_matte_is_that_of_its_pixels():
    matte = np.array([[0, 0, 128, 255], [255, 255, 1, 254]], np.uint8)
    assert fractional_share(count_alphas(matte) / matte.size) == pytest.approx(3 / 8)


def test_shares_of_the_sample(sample, sample_mattes):
    mattes = [sample_mattes[p.stem] for p in sample.train]
    p = alpha_distribution(map(count_alphas, mattes))
    fractional = np.mean([((m > 0) & (m < 255)).mean() for m in mattes])
    foreground = np.mean([(m == 255).mean() for m in mattes])
    assert fractional_share(p) == pytest.approx(fractional, abs=1e-4)
    assert foreground_share(p) == pytest.approx(foreground, abs=1e-4)


def test_the_loss_layer_reads_the_same_numbers(tmp_path):
    p = alpha_distribution([count_alphas(np.arange(200, dtype=np.uint8).reshape(10, 20))])
    path = tmp_path / "p_alpha.txt"
    save_alpha_distribution(path, p)
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    assert len([line for line in lines if not line.startswith("#")]) == 256
    np.testing.assert_array_equal(load_alpha_distribution(path), p)


def test_plot_is_a_picture_of_the_distribution():
    flat, steep = np.full(256, 1 / 256), np.geomspace(1, 1e-9, 256)
    pictures = [draw_alpha_distribution(p / p.sum()) for p in (flat, steep)]
    for picture in pictures:
        assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.std() > 5
    assert (pictures[0] != pictures[1]).mean() > 0.01


def test_no_matte():
    with pytest.raises(InputError, match="at least one"):
        alpha_distribution([])
