from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from data_prep.common.errors import InputError
from data_prep.datasets.layouts import read_mask_mat


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float64])
def test_mask_of_a_matlab_file(tmp_path, kind):
    mask = np.eye(5)
    savemat(tmp_path / "a.mat", {"mask": mask.astype(kind)})
    np.testing.assert_array_equal(read_mask_mat(tmp_path / "a.mat"), 255 * mask)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"other": np.eye(5)}, "no variable called mask"),
        ({"mask": 255 * np.eye(5)}, "outside 0 to 1"),
        ({"mask": np.full((5, 5), np.nan)}, "outside 0 to 1"),
        ({"mask": -np.eye(5)}, "outside 0 to 1"),
        ({"mask": np.zeros((5, 5, 3))}, r"shape is \(5, 5, 3\)"),
        ({"mask": "text"}, "no image"),
    ],
)
def test_matlab_file_without_a_mask_is_refused(tmp_path, content, sentence):
    savemat(tmp_path / "a.mat", content)
    with pytest.raises(InputError, match=rf"a\.mat.*{sentence}"):
        read_mask_mat(tmp_path / "a.mat")


@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_damaged_matlab_file_is_named(tmp_path, share):
    path = tmp_path / "a.mat"
    savemat(path, {"mask": np.random.default_rng(0).random((40, 40))}, do_compression=True)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.mat is not a readable MATLAB file"):
        read_mask_mat(path)
    path.write_text("not a MATLAB file" * 20)
    with pytest.raises(InputError, match=r"a\.mat is not a readable MATLAB file"):
        read_mask_mat(path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.mat does not exist"):
        read_mask_mat(path)
