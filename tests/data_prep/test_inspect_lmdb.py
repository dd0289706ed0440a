from __future__ import annotations

import shutil

import cv2
import lmdb
import numpy as np
import pytest
from caffe.proto import caffe_pb2

from data_prep.caffe_data.caffe_lmdb import AlignedWriter, shuffled_keys
from data_prep.common.errors import InputError
from data_prep.common.images import encode_image, read_photo
from data_prep.inspect_lmdb import choose_records, draw_record, main

PARTS = ("image", "mask", "matte")
COUNT = 8


def disc(size=(40, 30)):
    matte = np.zeros(size, np.uint8)
    cv2.circle(matte, (size[1] // 2, size[0] // 2), 9, 255, -1)
    return cv2.GaussianBlur(matte, (0, 0), 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Eight records of 30x40 pixels without a defect."""
    folder = tmp_path_factory.mktemp("whole")
    rng = np.random.default_rng(0)
    keys = shuffled_keys(COUNT, seed=0)
    matte = encode_image(disc(), ".png")
    with AlignedWriter([folder / f"train_{part}" for part in PARTS], {}, keys) as writer:
        for _ in keys:
            photo = rng.integers(0, 256, (40, 30, 3), dtype=np.uint8)
            writer.put([encode_image(photo, ".jpg"), matte, matte])
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "prepared")
    return tmp_path / "prepared"


def change(folder, part, key, value):
    """Replace one record, or remove it; the manifest no longer says the size."""
    database = folder / f"train_{part}"
    with lmdb.open(str(database), map_size=1 << 30, lock=False) as environment:
        with environment.begin(write=True) as transaction:
            if value is None:
                assert transaction.delete(key.encode())
            else:
                transaction.put(key.encode(), value)
    (database / "manifest.json").unlink(missing_ok=True)


def datum(image, suffix=".png"):
    return caffe_pb2.Datum(data=encode_image(image, suffix), encoded=True).SerializeToString()


def test_whole_databases(folder, capsys):
    assert main([str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"train: {COUNT} records" in printed and "0 defects" in printed
    matte = disc()
    assert f"{((matte > 0) & (matte < 255)).mean():.1%} of the pixels fractional" in printed
    assert f"{(matte == 255).mean():.1%} foreground" in printed


KEY = "00000003"


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("mask", None, "mask is missing"),
        ("matte", b"\xff\xff\xff", "matte is no Datum"),
        ("image", caffe_pb2.Datum(data=b"x" * 9).SerializeToString(), "image is not encoded"),
        (
            "image",
            caffe_pb2.Datum(data=b"\xff\xd8 no photo", encoded=True).SerializeToString(),
            "image does not decode",
        ),
        (
            "image",
            caffe_pb2.Datum(data=b"", encoded=True).SerializeToString(),
            "image does not decode",
        ),
        ("image", datum(disc()), "image has 1 channels of uint8, not 3 of uint8"),
        ("matte", datum(np.dstack([disc()] * 3)), "matte has 3 channels of uint8, not 1 of"),
        ("matte", datum(disc((30, 40))), "sizes differ: image 30x40, mask 30x40, matte 40x30"),
        ("matte", datum(disc() // 255), "matte reaches 1 of 255 only"),
    ],
)
def test_every_defect_is_listed(folder, capsys, part, value, sentence):
    change(folder, part, KEY, value)
    change(folder, "mask", "00000006", datum(disc((50, 30))))
    assert main([str(folder)]) == 1
    *defects, summary = capsys.readouterr().out.splitlines()
    assert any(line.startswith(f"{KEY}: ") and sentence in line for line in defects)
    assert any(line.startswith("00000006: sizes differ") for line in defects)
    assert len(defects) == 2 and f"{COUNT} records" in summary and "2 defects" in summary


def test_key_that_one_database_has_more(folder, capsys):
    change(folder, "image", "00000003x", datum(np.zeros((40, 30, 3), np.uint8), ".jpg"))
    assert main([str(folder)]) == 1
    *defects, summary = capsys.readouterr().out.splitlines()
    assert defects == ["00000003x: mask is missing", "00000003x: matte is missing"]
    assert f"{COUNT + 1} records" in summary


def test_photos_of_several_sizes(folder, capsys):
    images = np.zeros((20, 30, 3), np.uint8), disc((20, 30)), disc((20, 30))
    for part, image in zip(PARTS, images, strict=True):
        change(folder, part, KEY, datum(image))
    assert main([str(folder)]) == 1
    assert "photos of several sizes: 30x20, 30x40" in capsys.readouterr().out


def test_truncated_and_missing_database(folder):
    with open(folder / "train_mask" / "data.mdb", "r+b") as stream:
        stream.truncate(8192)
    with pytest.raises(InputError, match="data.mdb has 8192 bytes instead of"):
        main([str(folder)])
    with pytest.raises(InputError, match="test_image does not exist"):
        main([str(folder), "--split", "test"])


def test_damaged_database_and_bad_sheet(folder, capsys):
    with pytest.raises(InputError, match="not as '.gif'"):
        main([str(folder), "--sheet", "records.gif"])
    assert not capsys.readouterr().out  # before anything is read
    file = folder / "train_mask" / "data.mdb"
    content = bytearray(file.read_bytes())
    for page in range(2 * 4096, len(content), 4096):
        content[page + 10 : page + 12] = b"\0\0"  # whether it is a leaf or a branch
    file.write_bytes(content)
    with pytest.raises(InputError, match="damaged .* write them again with `make data`"):
        main([str(folder)])


def test_sheet_shows_records(folder, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    arguments = [str(folder), "--sheet", str(sheet), "--records", "7"]
    assert main([*arguments, "--seed", "1"]) == 0
    first = read_photo(sheet)
    assert first.shape == (2 * 320, 6 * 240, 3)  # seven tiles, six a row
    assert first[320:, :240].std() > 5 and not first[320:, 240:].any()
    assert main([*arguments, "--seed", "2"]) == 0
    assert (read_photo(sheet) != first).any()
    assert str(sheet) in capsys.readouterr().out


def test_chosen_records_are_of_many_portraits():
    """With the seed of `prepare`, too: once all came from the first portrait."""
    portrait_of = {int(key): i // 13 for i, key in enumerate(shuffled_keys(26 * 13, seed=0))}
    chosen = choose_records(26 * 13, 12, seed=0)
    assert len(set(chosen)) == 12 and chosen == sorted(chosen)
    assert len({portrait_of[rank] for rank in chosen}) >= 6
    assert choose_records(5, 12, seed=0) == list(range(5))


def test_drawing_keeps_the_foreground_and_greens_the_background():
    image = np.full((40, 30, 3), 100, np.uint8)
    mask = np.zeros((40, 30), np.uint8)
    mask[30:38, 2:8] = 255
    picture = draw_record(image, mask, disc())
    assert (picture[20, 15] == 100).all()
    b, g, r = picture[2, 2].astype(int)
    assert g > r + 20 and g > b + 20
    assert (picture[30, 4] == (0, 255, 255)).all()  # outline of the mask
