"""Every importer on a miniature of the real layout, with every kind of bad file."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from checkout import ROOT
from scipy.io import savemat

from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo, write_image
from data_prep.common.landmarks import LandmarkDetector
from data_prep.datasets.dataset import Dataset
from data_prep.datasets.layouts import LAYOUTS
from data_prep.datasets.manifest import DatasetManifest
from data_prep.import_dataset import main

SMALL = (450, 600)  # width, height: a face is found, and nothing is over-enlarged


@pytest.fixture(scope="session")
def portraits(sample):
    """Photos and mattes of the sample at the paper's size."""
    return [(read_photo(p.photo), read_matte(p.matte)) for p in sample.train[:6]]


def reduced(image, size=SMALL):
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="session")
def small(portraits):
    """The same, reduced."""
    return [(reduced(photo), reduced(matte)) for photo, matte in portraits]


def run(source, kind, out, *options):
    """Import in this process; the manifest and its reasons by file."""
    arguments = [str(source), "--format", kind, "--out", str(out), "--workers", "1"]
    assert main([*arguments, *options]) == 0
    manifest = DatasetManifest.load(out)
    reasons = {}
    for each in manifest.rejected:
        earlier = [reasons[each["file"]]] if each["file"] in reasons else []
        reasons[each["file"]] = "; ".join([*earlier, each["reason"]])
    return manifest, reasons


def stems(portraits):
    return sorted(p.stem for p in portraits)


def add_pair(source, name, pair, images="images", mattes="mattes", suffix=".jpg"):
    write_image(source / images / f"{name}{suffix}", pair[0])
    write_image(source / mattes / f"{name}.png", pair[1])


# --- plain folders ------------------------------------------------------------


@pytest.fixture
def plain(tmp_path, small):
    source = tmp_path / "collection"
    for name, pair in zip("abc", small, strict=False):
        add_pair(source, name, pair)
    return source


def test_plain_folders(plain, tmp_path, capsys):
    manifest, reasons = run(plain, "plain", tmp_path / "out")
    assert "3 portraits, 3 of them new" in capsys.readouterr().out
    assert reasons == {}
    assert manifest.origin == {"format": "plain", "collection": "collection"}
    dataset = Dataset.open(tmp_path / "out")
    dataset.check_pixels(shape=(800, 600))
    assert stems(dataset.portraits) == ["a", "b", "c"]
    # Faces are found on the crops, in front of the matte.
    detector = LandmarkDetector()
    for portrait in dataset.portraits:
        nose = np.rint(detector.detect(read_photo(portrait.photo))[30]).astype(int)
        assert read_matte(portrait.matte)[nose[1], nose[0]] == 255


def test_every_kind_of_bad_file_is_listed(plain, tmp_path, small, capsys):
    photo, matte = small[0]
    images, mattes = plain / "images", plain / "mattes"
    write_image(images / "lonely.jpg", photo)
    write_image(mattes / "orphan.png", matte)
    add_pair(plain, "size", (photo, reduced(matte, (300, 400))))
    add_pair(plain, "torn", small[0])
    (images / "torn.jpg").write_bytes((images / "torn.jpg").read_bytes()[:5000])
    add_pair(plain, "text", small[0])
    (mattes / "text.png").write_text("no image")
    add_pair(plain, "empty", (photo, np.zeros_like(matte)))
    add_pair(plain, "mask01", (photo, matte // 255))
    add_pair(plain, "full", (photo, np.full_like(matte, 255)))
    add_pair(plain, "inverted", (photo, 255 - matte))
    (images / "a.gif").write_bytes(b"")  # beside a.jpg, and before it in the alphabet
    add_pair(plain, "colors", (photo, photo))
    cv2.imwrite(str(mattes / "colors.png"), photo)
    add_pair(plain, "tiny", (reduced(photo, (150, 200)), reduced(matte, (150, 200))))
    (images / "notes.txt").write_text("hello")
    (images / ".DS_Store").write_text("")
    (mattes / "folder.png").mkdir()
    write_image(images / "a.png", photo)  # beside a.jpg
    write_image(images / "spaced .jpg", photo)
    (mattes / "floats.tif").write_bytes(b"")
    cv2.imwrite(str(mattes / "floats.tif"), matte / np.float32(255))
    write_image(images / "floats.jpg", photo)
    write_image(images / "locked.jpg", photo)
    (mattes / "locked.png").symlink_to("missing")

    manifest, reasons = run(plain, "plain", tmp_path / "out")
    printed = capsys.readouterr().out
    expected = {
        "images/lonely.jpg": "it has no matte",
        "mattes/orphan.png": "it has no photo",
        "mattes/size.png": "it is 300x400 pixels, its photo 450x600",
        "images/torn.jpg": "not a readable image",
        "mattes/text.png": "not a readable image",
        "mattes/empty.png": "no foreground",
        "mattes/mask01.png": "largest value is 1 of 255",
        "mattes/full.png": "no background",
        "mattes/inverted.png": "it seems to be inverted: the",
        "images/a.gif": "a.jpg has the same stem and is taken",
        "mattes/colors.png": "it has colors, such as",
        "images/tiny.jpg": "150x200 pixels, too few for 600x800",
        "images/notes.txt": "'.txt' is no image format",
        "images/.DS_Store": "hidden file",
        "mattes/folder.png": "a folder",
        "images/a.png": "a.jpg has the same stem",
        "images/spaced .jpg": "begins or ends with a space",
        "mattes/floats.tif": "floating-point",
        "mattes/locked.png": "cannot be read",
    }
    for file, reason in expected.items():
        assert reason in reasons[file], file
        assert f"  {file}: {reasons[file]}" in printed
    assert reasons.keys() == expected.keys()
    assert sorted(manifest.portraits) == ["a", "b", "c"]
    assert stems(Dataset.open(tmp_path / "out").portraits) == ["a", "b", "c"]


def test_other_folder_names_and_given_lists(tmp_path, small):
    source = tmp_path / "collection"
    for name, pair in zip("abcd", small, strict=False):
        add_pair(source, name, pair, "photo", "alpha")
    (source / "train.txt").write_text("b\nc\nghost\nb\n")
    (source / "test.txt").write_text("a\n")
    _, reasons = run(source, "plain", tmp_path / "out", "--images", "photo", "--mattes", "alpha")
    dataset = Dataset.open(tmp_path / "out")
    assert (stems(dataset.train), stems(dataset.test)) == (["b", "c"], ["a"])
    assert reasons == {
        "train.txt": "line 3, 'ghost', is not the name of a photo that has a matte in "
        f"{source}; correct it or take it out; line 4 names b, which is already in train.txt, "
        "line 1; keep one of the two",
        "photo/d.jpg": "it is neither in train.txt nor in test.txt",
    }


def test_portrait_of_the_right_size_is_taken_as_it_is(tmp_path, portraits):
    source = tmp_path / "collection"
    for name, (photo, matte) in zip("abc", portraits, strict=False):
        add_pair(source, name, (photo, matte))
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101]
    cv2.imwrite(str(source / "images" / "c.webp"), portraits[2][0], lossless)
    (source / "images" / "c.jpg").unlink()
    manifest, _ = run(source, "plain", tmp_path / "out")
    for name in "ab":
        copied = (tmp_path / "out" / "images" / f"{name}.jpg").read_bytes()
        assert copied == (source / "images" / f"{name}.jpg").read_bytes()
        assert manifest.portraits[name]["crop"] is None
    # A format that datasets do not hold is coded again.
    again = read_photo(tmp_path / "out" / "images" / "c.jpg")
    assert np.abs(again.astype(int) - portraits[2][0]).mean() < 1.5
    for name, (_, matte) in zip("abc", portraits, strict=False):
        np.testing.assert_array_equal(read_matte(tmp_path / "out/mattes" / f"{name}.png"), matte)


def test_portrait_without_a_face_is_listed(tmp_path, plain, capsys):
    blank = np.full((900, 800, 3), 90, np.uint8)
    matte = np.zeros((900, 800), np.uint8)
    matte[300:, 300:700] = 255
    add_pair(plain, "blank", (blank, matte))
    manifest, reasons = run(plain, "plain", tmp_path / "out")
    assert "1 without a face, cropped around the matte: blank" in capsys.readouterr().out
    assert manifest.portraits["blank"]["face"] is False and reasons == {}
    assert manifest.portraits["a"]["face"] is True


# --- public collections ----------------------------------------------------------


@pytest.fixture
def released(tmp_path, portraits):
    """The data folder of the portrait-segmentation release: 4 of 7 photos came."""
    source = tmp_path / "release"
    (source / "images_mask").mkdir(parents=True)
    lines = []
    for number, (photo, matte) in enumerate(portraits[:4], start=1):
        # The portrait at 480x640 inside a larger photo.
        whole = np.full((768, 1024, 3), 200, np.uint8)
        r0, c0 = 10 * number, 100 + 7 * number
        whole[r0 : r0 + 640, c0 : c0 + 480] = reduced(photo, (480, 640))
        name = f"{number:05d}"
        write_image(source / "images_data" / f"{name}.jpg", whole)
        mask = (matte > 127).astype(np.uint8)
        savemat(source / "images_mask" / f"{name}_mask.mat", {"mask": mask})
        lines.append(f"{name}.jpg {r0} {r0 + 640} {c0} {c0 + 480}")
    lines += ["00005.jpg 0 640 0 480", "00006.jpg 0 640 0 480"]
    (source / "crop.txt").write_text("\n".join(lines))
    (source / "alldata_urls.txt").write_text("00005.jpg http://example.com/5\n00006.jpg None\n")
    savemat(source / "trainlist.mat", {"trainlist": np.array([[2, 3, 6]])})
    savemat(source / "testlist.mat", {"testlist": np.array([[1, 4, 5]])})
    return source


def test_portrait_segmentation_release(released, tmp_path, portraits):
    _, reasons = run(released, "portrait-segmentation", tmp_path / "out")
    assert reasons == {
        "images_data/00005.jpg": "the photo is missing; download it under this name",
        "images_data/00006.jpg": "the photo is missing; the release has no address for it",
    }
    dataset = Dataset.open(tmp_path / "out")
    dataset.check_pixels(shape=(800, 600))
    assert stems(dataset.train) == ["00002", "00003"]
    assert stems(dataset.test) == ["00001", "00004"]
    for number, (photo, matte) in enumerate(portraits[:4], start=1):
        mask = read_matte(tmp_path / "out" / "mattes" / f"{number:05d}.png")
        np.testing.assert_array_equal(mask, 255 * (matte > 127))
        found = read_photo(tmp_path / "out" / "images" / f"{number:05d}.jpg").astype(int)
        # The crop, and no row or column of the gray around it.
        assert np.abs(found - photo).mean() < 5
        border = [found[0], found[-1], found[:, 0], found[:, -1]]
        true = [photo[0], photo[-1], photo[:, 0], photo[:, -1]]
        for edge, expected in zip(border, true, strict=True):
            assert np.abs(edge - expected.astype(int)).mean() < 12


def test_bad_files_of_the_release_are_listed(released, tmp_path, portraits):
    crops = (released / "crop.txt").read_text().splitlines()
    crops += [
        "00007.jpg 0 640 zero 480",
        "../up.jpg 0 640 0 480",
        "00008.jpg 640 0 0 480",
        crops[0],
        "00009.jpg 0 900 0 480",
        "00010.jpg 0 640 0 480",
        "00011.jpg 0 640 0 480",
        "00012.jpg 0 200 0 150",
    ]
    (released / "crop.txt").write_text("\n".join(crops))
    photo = reduced(portraits[0][0], (480, 640))
    mask = np.uint8(portraits[0][1] > 127)
    for number in range(9, 14):
        write_image(released / "images_data" / f"{number:05d}.jpg", photo)
    for number, content in {9: mask, 10: mask[:400, :300], 12: mask}.items():
        savemat(released / "images_mask" / f"{number:05d}_mask.mat", {"mask": content})
    savemat(released / "images_mask" / "00002_mask.mat", {"mask": 255 * mask})
    (released / "images_mask" / "00003_mask.mat").write_text("damaged")
    arguments = [str(released), "--format", "portrait-segmentation", "--out", str(tmp_path / "o")]
    assert main([*arguments, "--workers", "1"]) == 0
    manifest = DatasetManifest.load(tmp_path / "o")
    listed = [f"{each['file']}: {each['reason']}" for each in manifest.rejected]
    expected = [
        "crop.txt: line 7, '00007.jpg 0 640 zero 480', is not",
        "crop.txt: line 8, '../up.jpg 0 640 0 480', is not",
        "crop.txt: line 9, '00008.jpg 640 0 0 480', is not",
        "names a photo again",
        "images_data/00009.jpg: rows 0-900 and columns 0-480 of crop.txt leave the photo",
        "images_mask/00010_mask.mat: it is 300x400 pixels, not 600x800",
        "images_mask/00011_mask.mat: the mask is missing",
        "images_data/00012.jpg: the part to crop has 150x200 pixels",
        "images_data/00013.jpg: crop.txt does not name it",
        "images_mask/00002_mask.mat: mask has values outside 0 to 1",
        "images_mask/00003_mask.mat: it is not a readable MATLAB file",
        "images_data/00005.jpg: the photo is missing",
        "images_data/00006.jpg: the photo is missing",
    ]
    for sentence in expected:
        assert sum(sentence in line for line in listed) == 1, sentence
    assert len(listed) == len(expected)
    assert sorted(manifest.portraits) == ["00001", "00004"]


def test_aisegment(tmp_path, portraits):
    source = tmp_path / "half"
    photos, alphas = [], []
    for index, (photo, matte) in enumerate(portraits[:4]):
        group, part = f"180315{index // 2}", f"{index % 2:08d}"
        name = f"{group}-{index:08d}"
        photos.append(source / "clip_img" / group / f"clip_{part}" / f"{name}.jpg")
        alphas.append(source / "matting" / group / f"matting_{part}" / f"{name}.png")
        write_image(photos[-1], photo)
        write_image(alphas[-1], np.dstack([photo, matte]))
    # As in the real archive.
    (source / "matting/1803150/._matting_00000000").write_text("macOS")
    (photos[0].parent / f"._{photos[0].name}").write_text("macOS")
    write_image(alphas[1], portraits[1][0])
    photos[2].unlink()
    manifest, reasons = run(source, "aisegment", tmp_path / "out")
    assert sorted(manifest.portraits) == [photos[0].stem, photos[3].stem]
    for index in (0, 3):
        found = read_matte(tmp_path / "out" / "mattes" / f"{photos[index].stem}.png")
        np.testing.assert_array_equal(found, portraits[index][1])
    assert reasons == {
        "matting/1803150/._matting_00000000": "a hidden file, no image",
        f"clip_img/1803150/clip_00000000/._{photos[0].name}": "a hidden file, no image",
        alphas[1].relative_to(source).as_posix(): "it has no transparency; its matte is "
        "the alpha channel",
        alphas[2].relative_to(source).as_posix(): "it has no photo",
    }
    # The same collection, one folder up.
    shutil.move(source, tmp_path / "up" / "matting_human_half")
    again, _ = run(tmp_path / "up", "aisegment", tmp_path / "again")
    assert again.files == manifest.files


def test_p3m(tmp_path, small):
    source = tmp_path / "P3M-10k"
    folders = ["train/blurred_image"] * 3
    folders += ["validation/P3M-500-P/blurred_image", "validation/P3M-500-NP/original_image"]
    for name, folder, pair in zip("abcde", folders, small, strict=False):
        part = folder.rsplit("/", 1)[0]
        add_pair(source, f"p_{name}", pair, folder, f"{part}/mask")
        (source / part / "trimap").mkdir(exist_ok=True)
    add_pair(source, "p_a", small[0], folders[4], "validation/P3M-500-NP/mask")
    _, reasons = run(source, "p3m", tmp_path / "out")
    dataset = Dataset.open(tmp_path / "out")
    dataset.check_pixels(shape=(800, 600))
    assert stems(dataset.train) == ["p_a", "p_b", "p_c"]
    assert stems(dataset.test) == ["p_d", "p_e"]
    (file,) = reasons
    assert file == "validation/P3M-500-NP/original_image/p_a.jpg" and "same stem" in reasons[file]


@pytest.mark.parametrize("packed", ["released", "paddleseg"])
def test_ppm(tmp_path, small, packed):
    source = tmp_path / "PPM-100"
    for index, (name, pair) in enumerate(zip("abcde", small, strict=False)):
        if packed == "released":
            write_image(source / "image" / f"{name}_o.jpg", pair[0])
            write_image(source / "matte" / f"{name}_o.jpg", pair[1])
        else:
            part = "val" if index < 2 else "train"
            add_pair(source, f"{name}_o", pair, f"{part}/fg", f"{part}/alpha")
    _, reasons = run(source, "ppm", tmp_path / "out")
    assert reasons == {}
    dataset = Dataset.open(tmp_path / "out")
    dataset.check_pixels(shape=(800, 600))
    assert stems(dataset.portraits) == [f"{name}_o" for name in "abcde"]
    if packed == "paddleseg":
        assert stems(dataset.test) == ["a_o", "b_o"]
    else:
        assert len(dataset.test) == 1  # 15 % of 5


# --- again, interrupted, in parallel -------------------------------------------------


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times(folder):
    return {path: path.stat().st_mtime_ns for path in (folder / "images").iterdir()}


def test_second_import_redoes_only_what_changed(plain, tmp_path, small, capsys, caplog):
    out = tmp_path / "out"
    first, _ = run(plain, "plain", out)
    before, written = contents(out), times(out)
    capsys.readouterr()
    run(plain, "plain", out)
    assert "3 portraits, 0 of them new" in capsys.readouterr().out
    assert contents(out) == before and times(out) == written

    add_pair(plain, "b", small[4])  # changed
    add_pair(plain, "d", small[5])  # new
    (plain / "images" / "c.jpg").unlink()  # gone
    (out / "images" / "a.jpg").write_bytes(b"somebody's")
    (out / "images" / ".mine").write_bytes(b"somebody's, too")
    (out / "images" / ".a.123.jpg").write_bytes(b"of a write that was killed")
    changed, _ = run(plain, "plain", out)
    assert "3 portraits, 3 of them new" in capsys.readouterr().out
    assert "a.jpg has been changed since; it is kept in " in caplog.text
    assert (out / "images" / "a.jpg").read_bytes() == before["images/a.jpg"]
    for name in ("a.stale-1.jpg", ".mine"):
        assert (out / "images" / name).read_bytes().startswith(b"somebody's")
        (out / "images" / name).unlink()
    assert sorted(p.name for p in (out / "images").iterdir()) == ["a.jpg", "b.jpg", "d.jpg"]
    assert changed.files["images/b.jpg"] != first.files["images/b.jpg"]
    fresh = tmp_path / "fresh"
    run(plain, "plain", fresh)
    assert contents(fresh) == contents(out)


def test_a_photo_that_is_there_twice_is_taken_once(plain, tmp_path, small):
    add_pair(plain, "e", small[0])  # as a
    manifest, reasons = run(plain, "plain", tmp_path / "out")
    assert stems(Dataset.open(tmp_path / "out").portraits) == ["a", "b", "c"]
    assert reasons == {"images/e.jpg": "it is the same photo as images/a.jpg; remove one of them"}
    assert sorted(manifest.portraits) == ["a", "b", "c"]
    assert not (tmp_path / "out/images/e.jpg").exists()


def test_killed_import_goes_on_and_ends_the_same(tmp_path, small):
    source, out = tmp_path / "collection", tmp_path / "out"
    mirrored = [[image[:, ::-1] for image in pair] for pair in small[:2]]
    for index, pair in enumerate([*small[:6], *mirrored]):
        add_pair(source, f"p{index}", pair)
    command = [sys.executable, "-m", "data_prep.import_dataset", str(source)]
    command += ["--format", "plain", "--workers", "1", "--out"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    journal = out / "unfinished.jsonl"
    process = subprocess.Popen([*command, str(out)], env=environment, stderr=subprocess.DEVNULL)
    while not (journal.is_file() and journal.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(InputError, match="not finished"):
        Dataset.open(out)
    with open(journal, "ab") as stream:
        stream.write(b'{"stem": "p')  # as a kill in the middle of a write leaves it
    (out / "images" / ".p7.1.jpg").write_bytes(b"half")
    done = times(out)
    again = subprocess.run([*command, str(out)], env=environment, capture_output=True, text=True)
    assert again.returncode == 0 and "8 portraits" in again.stdout
    assert "8 of them new" not in again.stdout
    assert done.items() & times(out).items()
    run(source, "plain", tmp_path / "undisturbed")
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_workers_make_the_same_dataset(plain, tmp_path):
    write_image(plain / "images" / "lonely.jpg", np.zeros((9, 9, 3), np.uint8))
    add_pair(plain, "empty", (np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8)))
    run(plain, "plain", tmp_path / "one")
    command = [sys.executable, "-m", "data_prep.import_dataset", str(plain)]
    command += ["--format", "plain", "--workers", "2", "--out", str(tmp_path / "two")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


# --- the program -----------------------------------------------------------------


def test_nothing_imported_is_a_failure_with_reasons(tmp_path, capsys):
    source, out = tmp_path / "collection", tmp_path / "out"
    for part in ("images", "mattes"):
        (source / part).mkdir(parents=True)
    (source / "images" / "a.jpg").write_text("no photo")
    with pytest.raises(InputError, match="Nothing could be imported"):
        main([str(source), "--format", "plain", "--out", str(out)])
    assert "images/a.jpg: it has no matte" in capsys.readouterr().out
    rejected = json.loads((out / "dataset.json").read_text())["rejected"]
    assert rejected == [{"file": "images/a.jpg", "reason": "it has no matte"}]


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("plain", "images does not exist; SOURCE is"),
        ("portrait-segmentation", "crop.txt does not exist; SOURCE is the data folder"),
        ("aisegment", "clip_img does not exist; SOURCE is the folder"),
        ("p3m", "train/blurred_image does not exist; SOURCE is the folder P3M-10k"),
        ("ppm", "image does not exist; SOURCE is the folder PPM-100"),
    ],
)
def test_folder_of_another_layout_is_refused(tmp_path, kind, sentence):
    with pytest.raises(InputError, match=sentence):
        main([str(tmp_path), "--format", kind, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_options_that_cannot_work(plain, tmp_path):
    source, out = str(plain), str(tmp_path / "out")
    cases = {
        "is no folder": [source + "x", "--format", "plain", "--out", out],
        "is the collection itself": [source, "--format", "plain", "--out", source],
        "--images is for": [source, "--format", "p3m", "--out", out, "--images", "x"],
        "is a file": [source, "--format", "plain", "--out", str(plain / "images" / "a.jpg")],
    }
    for sentence, arguments in cases.items():
        with pytest.raises(InputError, match=sentence):
            main(arguments)


def test_folder_of_something_else_is_left_alone(plain, tmp_path, small):
    out = tmp_path / "out"
    write_image(out / "images" / "mine.jpg", small[0][0])
    with pytest.raises(InputError, match="no import made it"):
        main([str(plain), "--format", "plain", "--out", str(out)])
    DatasetManifest(origin={"format": "p3m"}).save(out)
    with pytest.raises(InputError, match="is a dataset made from p3m"):
        main([str(plain), "--format", "plain", "--out", str(out)])
    assert (out / "images" / "mine.jpg").is_file()


def test_collection_that_lies_in_the_dataset_is_not_written_over(tmp_path, small):
    source, out = tmp_path / "collection", tmp_path / "out"
    add_pair(out, "a", small[0])
    DatasetManifest(origin={"format": "plain", "collection": "collection"}).save(out)
    source.mkdir()
    for part in ("images", "mattes"):
        (source / part).symlink_to(out / part)
    before = (out / "images/a.jpg").read_bytes()
    with pytest.raises(InputError, match="a.jpg is the same file as .*a.jpg, which is read"):
        main([str(source), "--format", "plain", "--out", str(out)])
    assert (out / "images/a.jpg").read_bytes() == before


def test_name_that_is_no_utf_8_is_listed(plain, tmp_path, small):
    name = os.fsdecode(b"lat\xe9in")
    for part in ("images", "mattes"):
        kept = sorted((plain / part).iterdir())[0]
        (plain / part / f"{name}{kept.suffix}").write_bytes(kept.read_bytes())
    listing = LAYOUTS["plain"](plain)
    assert [pair.stem for pair in listing.pairs] == ["a", "b", "c"]
    assert {problem.reason for problem in listing.problems} == {"its name is no UTF-8; rename it"}


def test_a_landmark_model_that_cannot_be_fetched_stops_the_import(plain, tmp_path, monkeypatch):
    """That is no fault of a pair either."""
    monkeypatch.setenv("PORTRAIT_MATTING_ASSETS", str(tmp_path / "empty"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match="could not be downloaded"):
        main([str(plain), "--format", "plain", "--workers", "1", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_dataset_that_cannot_be_written_stops_the_import(plain, tmp_path):
    """That is no fault of a photo, and must not be listed as one."""
    program = (
        "import resource, sys\n"
        "from data_prep.common.errors import run_program\n"
        "from data_prep.import_dataset import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "raise SystemExit(run_program(lambda: main(sys.argv[1:])))\n"
    )
    command = [sys.executable, "-c", program, str(plain), "--format", "plain"]
    command += ["--workers", "1", "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "a.jpg could not be written" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "dataset.json").exists()
