from __future__ import annotations

import shutil
import unicodedata
import zlib

import cv2
import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import write_image
from data_prep.dataset_manifest import main as manifest_main
from data_prep.datasets.dataset import Dataset, DatasetError, load_portrait, split_stems
from data_prep.datasets.manifest import DatasetManifest


def add(folder, stem, photo=(8, 6), matte=(8, 6), suffix=".jpg"):
    """A photo that no other stem has, and a matte."""
    if photo:
        noise = np.random.default_rng(zlib.crc32(stem.encode()))
        pixels = noise.integers(0, 256, (*photo, 3), dtype=np.uint8)
        write_image(folder / "images" / f"{stem}{suffix}", pixels)
    if matte:
        person = np.zeros(matte, np.uint8)
        person[2:, 2:-2] = 255
        write_image(folder / "mattes" / f"{stem}.png", person)


@pytest.fixture
def folder(tmp_path):
    for stem in "abcd":
        add(tmp_path, stem)
    (tmp_path / "train.txt").write_text("a\nb\n\n")
    (tmp_path / "test.txt").write_text("c\n")
    return tmp_path


def test_lists_are_followed(folder):
    dataset = Dataset.open(folder)
    assert [p.stem for p in dataset.train] == ["a", "b"]
    assert [p.stem for p in dataset.test] == ["c"]
    assert dataset.test[0].matte == folder / "mattes" / "c.png"
    dataset.check_pixels(shape=(8, 6))


def test_a_validation_list_takes_portraits_that_are_on_no_other(folder):
    assert Dataset.open(folder).validation == []
    (folder / "validation.txt").write_text("d\n")
    dataset = Dataset.open(folder)
    assert [p.stem for p in dataset.validation] == ["d"]
    assert [p.stem for p in dataset.portraits] == ["a", "b", "c"]
    (folder / "validation.txt").write_text("d\nc\n")
    with pytest.raises(DatasetError, match="line 2 names c, which is already in test.txt, line 1"):
        Dataset.open(folder)


def test_all_problems_of_pairing_are_listed(folder):
    (folder / "train.txt").write_text("a\nb\nb\nnobody\ne\n")
    add(folder, "e", photo=None)
    (folder / "test.txt").write_text("a\nc\nd\n")
    (folder / "mattes" / "c.png").unlink()
    add(folder, "d", suffix=".png")
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder)
    found = [(p.file.name, p.reason) for p in caught.value.problems]
    assert sorted(found) == [
        ("c.png", "the matte is missing"),
        ("d.jpg", "d.jpg and d.png share one stem; rename one of them"),
        ("e", "the photo is missing"),
        ("test.txt", "line 1 names a, which is already in train.txt, line 1; keep one of the two"),
        ("train.txt", "line 3 names b, which is already in train.txt, line 2; keep one of the two"),
        (
            "train.txt",
            f"line 4, 'nobody', is not the name of a photo or matte in {folder}; "
            "correct it or take it out",
        ),
    ]
    for name, reason in found:
        assert f"{name}: {reason}" in str(caught.value)


def test_all_problems_of_pixels_are_listed(folder):
    add(folder, "a", matte=(6, 8))
    (folder / "images" / "b.jpg").write_text("no photo")
    (folder / "mattes" / "b.png").write_text("no matte")
    add(folder, "c", photo=(9, 9), matte=(9, 9))
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder).check_pixels(shape=(8, 6))
    reasons = {p.file.name: p.reason for p in caught.value.problems}
    assert set(reasons) == {"a.png", "b.jpg", "b.png", "c.jpg"}
    assert "8x6 pixels, its photo 6x8" in reasons["a.png"]
    assert "9x9 pixels; crop it and its matte to 6x8" in reasons["c.jpg"]


def test_mattes_that_no_person_has_are_problems_of_the_pixels(folder):
    (folder / "test.txt").write_text("c\nd\n")
    for stem, values in (("a", (0, 1)), ("b", (0, 0)), ("c", (255, 255)), ("d", (0, 128))):
        matte = np.full((8, 6), values[0], np.uint8)
        matte[2:, 2:-2] = values[1]
        write_image(folder / "mattes" / f"{stem}.png", matte)
    dataset = Dataset.open(folder)
    with pytest.raises(DatasetError) as caught:
        dataset.check_pixels()
    assert [(p.file.name, p.reason.split(":")[0].split(";")[0]) for p in caught.value.problems] == [
        ("a.png", "it has no foreground"),
        ("b.png", "it has no foreground"),
        ("c.png", "it has no background"),
        ("d.png", "it holds only 0 and 128"),
    ]
    with pytest.raises(InputError, match=r"mattes/b\.png: it has no foreground.* all black\.$"):
        load_portrait(dataset.train[1])


def test_lists_of_other_programs_are_read(folder):
    (folder / "train.txt").write_bytes("\ufeffimages/a.jpg mattes/a.png\r\nb.jpg\r\n".encode())
    (folder / "test.txt").write_text("# held out\nc\n", encoding="utf-16")
    dataset = Dataset.open(folder)
    assert [p.stem for p in dataset.train] == ["a", "b"]
    assert [p.stem for p in dataset.test] == ["c"]


def test_names_are_the_same_however_their_letters_are_composed(folder):
    composed, decomposed = (unicodedata.normalize(form, "\u00e9") for form in ("NFC", "NFD"))
    add(folder, decomposed, matte=None)
    add(folder, composed, photo=None)
    (folder / "test.txt").write_text(composed)
    (portrait,) = Dataset.open(folder).test
    assert portrait.photo.stem == decomposed and portrait.matte.stem == composed


def test_every_format_is_taken_where_there_is_none_of_the_usual_ones(folder):
    for stem, photo, matte in (
        ("e", "webp", "tif"),
        ("f", "tiff", "jpg"),
        ("g", "jfif", "bmp"),
        ("h", "jpe", "pgm"),
    ):
        add(folder, stem, suffix=".png")
        for part, name, suffix in (("images", "png", photo), ("mattes", "png", matte)):
            path = folder / part / f"{stem}.{name}"
            kind = {"jfif": "jpg", "jpe": "jpg"}.get(suffix, suffix)
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            path.with_suffix(f".{suffix}").write_bytes(cv2.imencode(f".{kind}", pixels)[1])
            path.unlink()
    (folder / "test.txt").write_text("e\nf\ng\nh\n")
    dataset = Dataset.open(folder)
    assert [p.photo.suffix for p in dataset.test] == [".webp", ".tiff", ".jfif", ".jpe"]
    assert [p.matte.suffix for p in dataset.test] == [".tif", ".jpg", ".bmp", ".pgm"]
    dataset.check_pixels(shape=(8, 6))
    # Beside a usual one, others are masters or copies of it.
    shutil.copy(folder / "images/e.webp", folder / "images/c.webp")
    (folder / "test.txt").write_text("c\n")
    assert Dataset.open(folder).test[0].photo.name == "c.jpg"


@pytest.mark.parametrize(
    ("place", "hint"),
    [
        ("images/set/d.jpg", "images/set/d.jpg may be it: move it to images"),
        ("images/D.JPG", "images/D.JPG may be it: name it d.jpg"),
        ("images/d.psd", "images/d.psd may be it: '.psd' is no image format"),
    ],
)
def test_a_file_that_may_be_the_missing_photo_is_named(folder, place, hint):
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / "images/d.jpg").rename(folder / place)
    (folder / "test.txt").write_text("d\n")
    with pytest.raises(DatasetError, match=f"images/d: the photo is missing; {hint}"):
        Dataset.open(folder)


def test_a_file_that_may_be_the_missing_matte_is_named(folder):
    (folder / "mattes/d.png").rename(folder / "mattes/d_matte.png")
    (folder / "test.txt").write_text("d\n")
    with pytest.raises(DatasetError, match="missing; mattes/d_matte.png may be it: name it d.png"):
        Dataset.open(folder)


def test_files_passed_over_in_a_drawn_split_are_told(folder):
    for name in ("train.txt", "test.txt"):
        (folder / name).unlink()
    (folder / "images/more").mkdir()
    (folder / "images/notes.txt").write_text("hello")
    (folder / "images/.DS_Store").write_text("")
    (note,) = Dataset.open(folder).notes
    assert note == (
        "Passed over: images/more (a folder where images were expected); "
        "images/notes.txt ('.txt' is no image format that is read here)."
    )


def test_the_same_photo_in_training_and_test_is_refused(folder):
    shutil.copy(folder / "images/a.jpg", folder / "images/c.jpg")
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder)
    (problem,) = caught.value.problems
    assert problem.file.name == "c.jpg"
    assert "the same photo as a.jpg, and one is for train, the other for test" in problem.reason


def test_the_same_photo_twice_on_one_side_is_told(folder):
    shutil.copy(folder / "images/a.jpg", folder / "images/b.jpg")
    assert Dataset.open(folder).notes == ["The same photo twice on one list: b.jpg = a.jpg."]


def test_a_side_knows_where_it_comes_from(folder):
    assert Dataset.open(folder).list_of("test") == str(folder / "test.txt")
    for name in ("train.txt", "test.txt"):
        (folder / name).unlink()
    assert Dataset.open(folder, seed=3).list_of("test") == f"drawn from {folder} with seed 3"


def test_empty_list_is_a_problem(folder):
    (folder / "test.txt").write_text("\n")
    with pytest.raises(DatasetError, match="test.txt: the list is empty"):
        Dataset.open(folder)


def test_one_list_alone_is_refused(folder):
    (folder / "test.txt").unlink()
    with pytest.raises(InputError, match="train.txt only"):
        Dataset.open(folder)


def test_without_lists_every_pair_is_used_once(folder):
    (folder / "train.txt").unlink()
    (folder / "test.txt").unlink()
    dataset = Dataset.open(folder, seed=3)
    assert sorted(p.stem for p in dataset.portraits) == list("abcd")
    assert (len(dataset.train), len(dataset.test)) == (3, 1)
    assert dataset == Dataset.open(folder, seed=3)
    add(folder, "lonely", matte=None)
    with pytest.raises(DatasetError, match="lonely.png: the matte is missing"):
        Dataset.open(folder)


def test_split_has_the_papers_proportion():
    stems = [f"p{i}" for i in range(2000)]
    train, test = split_stems(stems, seed=1)
    assert (len(train), len(test)) == (1700, 300)
    assert sorted(train + test) == sorted(stems)
    assert split_stems(stems[::-1], seed=1) == (train, test)
    assert split_stems(stems, seed=2) != (train, test)


def test_no_dataset_at_all(tmp_path):
    with pytest.raises(InputError, match="images does not exist"):
        Dataset.open(tmp_path)


def test_unchanged_files_pass_the_manifest_and_a_changed_one_is_named(folder):
    assert manifest_main([str(folder)]) == 0
    assert set(DatasetManifest.load(folder).files) == {
        f"{part}/{stem}.{suffix}"
        for part, suffix in (("images", "jpg"), ("mattes", "png"))
        for stem in "abcd"
    }
    dataset = Dataset.open(folder)
    matte = dataset.train[1].matte
    write_image(matte, np.full((8, 6), 9, np.uint8))
    with pytest.raises(DatasetError) as caught:
        Dataset.open(folder)
    (problem,) = caught.value.problems
    assert problem.file == matte and "dataset_manifest" in problem.reason
    # A file on no list does not matter, and neither do the lists.
    (folder / "train.txt").write_text("a\n")
    assert [p.stem for p in Dataset.open(folder).train] == ["a"]
    # The remedy that the sentence names.
    (folder / "train.txt").write_text("a\nb\n")
    manifest_main([str(folder)])
    assert Dataset.open(folder) == dataset


def test_new_checksums_keep_the_rest_of_the_manifest(folder):
    DatasetManifest(origin={"format": "plain"}, choices={"a": "knn"}).save(folder)
    manifest_main([str(folder)])
    manifest = DatasetManifest.load(folder)
    assert manifest.origin == {"format": "plain"} and manifest.choices == {"a": "knn"}
    assert len(manifest.files) == 8


@pytest.mark.parametrize("content", ["", "[]", "{", '{"files": 3}', '{"color": {}}'])
def test_file_that_is_no_manifest_is_named_and_can_be_replaced(folder, content):
    (folder / "dataset.json").write_text(content)
    with pytest.raises(InputError, match="dataset.json is no dataset manifest"):
        Dataset.open(folder)
    manifest_main([str(folder)])
    assert len(Dataset.open(folder).train) == 2


def test_unfinished_import_is_no_dataset(folder):
    (folder / "unfinished.jsonl").touch()
    with pytest.raises(InputError, match="not finished; run the command"):
        Dataset.open(folder)
