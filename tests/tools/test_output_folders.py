"""Which photos of a folder are meant, and which trimap belongs to which."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from data_prep.common.errors import InputError
from tools.matting.models import MODELS
from tools.outputs import journal
from tools.outputs.batch import request_keys
from tools.outputs.folders import Companions, Tree, list_photos, unique_targets
from tools.outputs.rendering import Request

KINDS = ("alpha", "cutout", "oil-person")
JPEG = b"\xff\xd8\xff\xe0"


def touch(folder: Path, *names: str, content: bytes = b"") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def remember(out: Path, photo: Path, file: Path, key: str) -> None:
    journal.add_entry(out, journal.state_of(photo), file, key, journal.state_of(file))


def names(paths: list[Path], folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in paths]


# --- what is a photo ----------------------------------------------------------


def test_photos_are_found_by_every_suffix_and_in_linked_folders(tmp_path):
    folder, elsewhere = tmp_path / "photos", tmp_path / "elsewhere"
    touch(folder, "a.jpg", "b.jfif", "c.JPE", "d.jp2", "sub/e.heic", "notes.txt", ".hidden.jpg")
    touch(elsewhere, "f.png", "deep/g.jpg")
    (folder / "link").symlink_to(elsewhere)
    (folder / "h.jpg").symlink_to(elsewhere / "f.png")
    (folder / "lost.jpg").symlink_to(tmp_path / "nothing")
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    listing = list_photos(folder, None, KINDS)
    assert names(listing.photos, folder) == [
        "a.jpg",
        "b.jfif",
        "c.JPE",
        "d.jp2",
        "h.jpg",
        "link/deep/g.jpg",
        "link/f.png",
        "sub/e.heic",
    ]
    assert listing.passed_over() == []


def test_circles_of_links_end_and_folders_go_by_their_own_names(tmp_path):
    touch(tmp_path, "a/x.jpg", "z/y.jpg")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/again").symlink_to(tmp_path / "z")
    listing = list_photos(tmp_path, None, KINDS)
    assert names(listing.photos, tmp_path) == ["a/x.jpg", "z/y.jpg"]
    (sentence,) = listing.passed_over()
    assert "links to folders that are looked through anyway" in sentence
    assert "a/up" in sentence and "a/again" in sentence


def test_images_of_unknown_suffixes_are_counted(tmp_path):
    touch(tmp_path, "a.jpg", "IMG_1", "b.dat", content=JPEG)
    touch(tmp_path, "c.nef", "d.NEF", content=b"MM\0*" + bytes(20))
    touch(tmp_path, "e.psd", content=b"8BPS\0\1")
    touch(tmp_path, "notes.txt", "data.bin", "empty")
    listing = list_photos(tmp_path, None, KINDS)
    assert names(listing.photos, tmp_path) == ["a.jpg"]
    (sentence,) = listing.passed_over()
    assert sentence.startswith("images of other names: .nef (2), ")
    for kind in ("no suffix (1)", ".dat (1)", ".psd (1)"):
        assert kind in sentence
    assert ".txt" not in sentence and ".bin" not in sentence


def test_outputs_are_no_photos_where_their_photo_is(tmp_path):
    touch(
        tmp_path,
        "a.jpg",
        "a_cutout.png",
        "out/a_alpha.webp",
        "out/sub/b_oil-person.tif",
        "sub/b.png",
        "out/a_jpg_cutout.png",
        "me_cutout.png",
        "a_beach.png",
        "a_alpha.bmp",
    )
    listing = list_photos(tmp_path, None, KINDS)
    assert names(listing.photos, tmp_path) == [
        "a.jpg",
        "a_alpha.bmp",
        "a_beach.png",
        "me_cutout.png",
        "sub/b.png",
    ]
    (sentence,) = listing.passed_over()
    assert sentence.startswith("outputs of earlier runs: ") and sentence.endswith("and 1 more.")


def test_outputs_that_a_journal_names_are_no_photos_wherever_their_photo_is(tmp_path):
    out = tmp_path / "out"
    touch(tmp_path, "photo.jpg", "out/x_cutout.png", "out/sub/y_2_alpha.png", "out/mine.png")
    for name in ("x_cutout.png", "sub/y_2_alpha.png"):
        remember(out, tmp_path / "photo.jpg", out / name, "key")
    listing = list_photos(tmp_path, None, KINDS)
    assert names(listing.photos, tmp_path) == ["out/mine.png", "photo.jpg"]
    assert list_photos(out / "sub", None, KINDS).photos == []  # the journal lies above


def test_output_folder_is_left_out_even_around_the_photos(tmp_path):
    touch(tmp_path, "a.jpg", "out/b.jpg", "out/sub/c.jpg")
    (tmp_path / "link").symlink_to("out")
    assert names(list_photos(tmp_path, tmp_path / "out", KINDS).photos, tmp_path) == ["a.jpg"]
    inside = tmp_path / "out/sub"
    assert names(list_photos(inside, tmp_path / "out", KINDS).photos, inside) == ["c.jpg"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_folder_that_may_not_be_read_is_said(tmp_path):
    touch(tmp_path, "a.jpg", "closed/b.jpg")
    (tmp_path / "closed").chmod(0)
    tree = Tree.of(tmp_path)
    (tmp_path / "closed").chmod(0o700)
    assert tree.closed == [tmp_path / "closed"]


# --- names of outputs ---------------------------------------------------------


@pytest.mark.parametrize(
    ("photos", "targets"),
    [
        (["a.jpg", "b/a.jpg"], ["a", "b/a"]),
        (["a.jpg", "a.png"], ["a_jpg", "a_png"]),
        (["x.jpg", "x.png", "x_jpg.jpg"], ["x_jpg_2", "x_png", "x_jpg"]),
        (["x.jpg", "x.png", "x_jpg.jpg", "x_jpg_2.png"], ["x_jpg_3", "x_png", "x_jpg", "x_jpg_2"]),
        (["stdin", "stdin"], ["stdin", "stdin_2"]),
        (["a.b.jpg", "a.b.png"], ["a_b_jpg", "a_b_png"]),
    ],
)
def test_no_two_photos_have_one_output(photos, targets):
    found = unique_targets([Path(photo) for photo in photos])
    assert [target.as_posix() for target in found] == targets


# --- trimaps and masks --------------------------------------------------------


def found(given: Path, targets: list[str], kind: str = "trimap") -> list[str | None]:
    """What belongs to each target, None where that is refused."""
    companions = Companions(given, kind, [Path(target) for target in targets])
    results: list[str | None] = []
    for target in targets:
        try:
            path = companions.find(Path(target), "the photo")
        except InputError:
            results.append(None)
        else:
            results.append(path.relative_to(given).as_posix())
    return results


def test_trees_of_trimaps_belong_to_trees_of_photos(tmp_path):
    touch(tmp_path, "a.png", "sub/a.png", "sub/b_trimap.png")
    assert found(tmp_path, ["a", "sub/a", "sub/b"]) == ["a.png", "sub/a.png", "sub/b_trimap.png"]


def test_trimaps_in_one_folder_are_found_where_no_other_photo_is_called_so(tmp_path):
    touch(tmp_path, "a.png", "b.png", "notes.txt", "c.txt")
    assert found(tmp_path, ["x/a", "y/b", "c"]) == ["a.png", "b.png", None]
    assert found(tmp_path, ["a", "x/a"]) == ["a.png", None]
    assert found(tmp_path, ["y/a", "x/a"]) == [None, None]
    touch(tmp_path, "x/a.png")
    assert found(tmp_path, ["folder/x/a", "y/a"]) == ["x/a.png", None]


def test_trimap_of_two_photos_that_differ_in_their_suffix_is_not_that_of_a_third(tmp_path):
    touch(tmp_path, "p.png")
    targets = [Path("p_jpg"), Path("p_png"), Path("sub/p")]
    companions = Companions(tmp_path, "mask", targets, ["p", "p", "p"])
    assert [companions.candidates(target) for target in targets] == [[], [], []]
    touch(tmp_path, "sub/p.png")
    companions = Companions(tmp_path, "mask", targets, ["p", "p", "p"])
    assert companions.candidates(Path("sub/p")) == [tmp_path / "sub/p.png"]


def test_outputs_can_be_given_back_also_those_named_by_suffix(tmp_path):
    touch(tmp_path, "a_jpg_trimap.png", "a_png_trimap.png", "a_jpg_alpha.png", "a.png")
    targets = [target.as_posix() for target in unique_targets([Path("a.jpg"), Path("a.png")])]
    assert found(tmp_path, targets) == ["a_jpg_trimap.png", "a_png_trimap.png"]
    assert found(tmp_path, targets, "mask") == ["a_jpg_alpha.png", None]


def test_none_and_several_are_refused_with_their_names(tmp_path):
    touch(tmp_path, "a.png", "a_trimap.png")
    companions = Companions(tmp_path, "trimap", [Path("a"), Path("sub/b")])
    with pytest.raises(InputError, match=r"p/a.jpg has several trimaps \(.*a.png, .*"):
        companions.find(Path("a"), "p/a.jpg")
    with pytest.raises(InputError, match="no trimap for p/b.jpg; it would be called sub/b.png or"):
        companions.find(Path("sub/b"), "p/b.jpg")
    with pytest.raises(InputError, match="lost does not exist"):
        Companions(tmp_path / "lost", "mask", [])


# --- what was done ------------------------------------------------------------


def test_journal_knows_a_file_by_its_key_content_and_photo(tmp_path):
    touch(tmp_path, "photo.jpg", "out/a.png", content=b"content")
    out, file, photo = tmp_path / "out", tmp_path / "out/a.png", tmp_path / "photo.jpg"

    def is_current(key: str) -> bool:
        return journal.is_current(journal.read_entries(out).get("a.png"), key, file, photo)

    assert not is_current("red")
    remember(out, photo, file, "red")
    assert is_current("red") and not is_current("blue")
    os.utime(photo, (1, 1))
    os.utime(file, (1, 1))
    assert is_current("red")  # as after a copy
    photo.write_bytes(b"changed")
    assert not is_current("red")
    photo.write_bytes(b"content")
    assert is_current("red")
    file.write_bytes(b"edited!")
    assert not is_current("red")
    remember(out, photo, file, "blue")
    assert is_current("blue") and not is_current("red")
    file.unlink()
    assert not is_current("blue")


def test_file_of_a_photo_from_a_pipe_is_own_but_never_current(tmp_path):
    touch(tmp_path, "photo.jpg", "a.png")
    file = tmp_path / "a.png"
    journal.add_entry(tmp_path, None, file, "key", journal.state_of(file))
    entry = journal.read_entries(tmp_path)["a.png"]
    assert journal.is_own(entry, file)
    assert not journal.is_current(entry, "key", file, tmp_path / "photo.jpg")
    file.write_bytes(b"edited")
    assert not journal.is_own(entry, file)


def test_damaged_journal_forgets_and_does_not_fail(tmp_path):
    touch(tmp_path, "photo.jpg", "a.png")
    remember(tmp_path, tmp_path / "photo.jpg", tmp_path / "a.png", "k")
    path = tmp_path / journal.NAME
    whole = path.read_bytes()
    path.write_bytes(b'\xff\n5\n{"files": 3}\n{"files": {"b": {}}}\n' + whole + whole[:20])
    assert set(journal.read_entries(tmp_path)) == {"a.png"}


def test_models_whose_mattes_differ_have_keys_that_differ():
    """Two names of one model have one key."""
    keys = {name: request_keys(Request(("alpha",), model=name))["alpha"] for name in MODELS}
    for one, other in itertools.combinations(MODELS, 2):
        assert (keys[one] == keys[other]) == (MODELS[one] == MODELS[other]), (one, other)
