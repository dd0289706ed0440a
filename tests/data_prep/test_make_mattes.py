from __future__ import annotations

import base64
import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pymatting
import pytest

from data_prep.common.errors import InputError
from data_prep.common.images import read_matte, read_photo, write_image
from data_prep.datasets.dataset import Dataset
from data_prep.datasets.manifest import DatasetManifest
from data_prep.import_dataset import main as import_main
from data_prep.labeling import page
from data_prep.labeling.mattes import METHODS, make_matte
from data_prep.labeling.previews import composite, fit_background, gradient_background
from data_prep.labeling.trimaps import FOREGROUND, UNKNOWN, read_trimap
from data_prep.make_mattes import main

SIZE = (120, 160)  # width, height


def labeled(matte):
    """Trimap that a careful person would label."""
    unknown = cv2.dilate(np.uint8((matte > 2) & (matte < 253)), np.ones((7, 7))) > 0
    return np.where(unknown, 128, 255 * (matte > 127)).astype(np.uint8)


@pytest.fixture(scope="session")
def portraits(sample):
    """Name, photo, true matte and trimap of three reduced portraits."""
    found = []
    for portrait in sample.train[:3]:
        images = read_photo(portrait.photo), read_matte(portrait.matte)
        photo, matte = (cv2.resize(i, SIZE, interpolation=cv2.INTER_AREA) for i in images)
        found.append((portrait.stem, photo, matte, labeled(matte)))
    return found


def write_collection(folder, portraits):
    for stem, photo, _, trimap in portraits:
        write_image(folder / "photos" / f"{stem}.png", photo)
        write_image(folder / "trimaps" / f"{stem}.png", trimap)
    return folder


@pytest.fixture
def collection(tmp_path, portraits):
    return write_collection(tmp_path, portraits)


@pytest.fixture
def single(tmp_path, portraits):
    """A collection of one portrait."""
    return write_collection(tmp_path, portraits[:1])


@pytest.fixture(scope="module")
def made_once(tmp_path_factory, portraits):
    folder = write_collection(tmp_path_factory.mktemp("made"), portraits)
    assert make(folder) == 0
    return folder


@pytest.fixture
def made(made_once, tmp_path):
    """A collection whose candidates are there already."""
    return Path(shutil.copytree(made_once, tmp_path / "made"))


def make(collection, *options):
    folders = [str(collection / "photos"), str(collection / "trimaps")]
    return main([*folders, "--out", str(collection / "out"), "--workers", "1", *options])


def apply(collection, choices, *options):
    path = collection / "choices.json"
    path.write_text(choices if isinstance(choices, str) else json.dumps(choices))
    return main(["--apply", str(path), "--out", str(collection / "out"), *options])


def page_of(collection):
    """The page's data, read as a browser reads it; every address it loads."""

    class Reader(HTMLParser):
        def __init__(self):
            super().__init__()
            self.ids, self.addresses, self.data, self.inside = set(), [], "", False

        def handle_starttag(self, tag, attributes):
            attributes = dict(attributes)
            self.ids.add(attributes.get("id"))
            self.addresses += [attributes[name] for name in ("src", "href") if name in attributes]
            self.inside = attributes.get("id") == "data"

        def handle_endtag(self, tag):
            self.inside = False

        def handle_data(self, text):
            self.data += text * self.inside

    reader = Reader()
    text = (collection / "out" / "choose.html").read_text(encoding="utf-8")
    reader.feed(text)
    assert {"pictures", "status", "previous", "next", "discard", "save"} <= reader.ids
    assert reader.addresses == [] and "http" not in text  # one file, no network
    return json.loads(reader.data)


def choose(collection, **methods):
    """What the page saves for these choices."""
    keys = {p["stem"]: p["candidates"] for p in page_of(collection)["portraits"]}
    return {
        "choices": {
            stem: {"method": method, "candidates": keys[stem]} for stem, method in methods.items()
        }
    }


# --- trimaps -----------------------------------------------------------------


def write_trimap(path, *values):
    trimap = np.repeat(np.array(values, np.uint8), 10)
    write_image(path, np.tile(trimap, (12, 1)))
    return path


def test_labels_may_be_a_little_off(tmp_path):
    path = write_trimap(tmp_path / "a.png", 0, 16, 112, 128, 144, 239, 255)
    row = read_trimap(path)[0, ::10]
    np.testing.assert_array_equal(row, [0, 0, 128, 128, 128, 255, 255])


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((0, 128, 255, 17), "120 pixels that are no label, most of them 17"),
        ((0, 128, 255, 200, 200, 60), "360 pixels that are no label, most of them 200"),
        ((0, 255), "no unknown pixels, its values are 0 and 255; label some with 128"),
        ((0, 128), "no foreground pixels, its values are 0 and 128; label some with 255"),
        ((0, 1, 2), "no foreground pixels, its values are 0, 1 and 2; label some with 255"),
        ((128, 255), "no background pixels, its values are 128 and 255; label some with 0"),
    ],
)
def test_trimap_that_cannot_be_solved_is_refused(tmp_path, values, sentence):
    with pytest.raises(InputError, match=rf"a\.png has {sentence}"):
        read_trimap(write_trimap(tmp_path / "a.png", *values))


def test_inverted_trimap_is_refused(portraits, tmp_path):
    _, _, _, trimap = portraits[0]
    write_image(tmp_path / "a.png", 255 - trimap)
    with pytest.raises(InputError, match=r"a\.png seems to be inverted: the middle is background"):
        read_trimap(tmp_path / "a.png")


# --- mattes ------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_labels_hold_and_the_unknown_is_better_than_gray(portraits, method):
    for _, photo, matte, trimap in portraits:
        found = make_matte(method, photo, trimap)
        known = trimap != UNKNOWN
        np.testing.assert_array_equal(found[known], trimap[known])
        errors = np.abs(found.astype(float) - matte)[~known]
        gray = np.abs(128.0 - matte)[~known]
        assert errors.mean() < 0.5 * gray.mean()


def test_both_methods_agree_with_pymatting(portraits):
    _, photo, _, trimap = portraits[0]
    rgb = photo[:, :, ::-1] / 255
    labels = np.where(trimap == UNKNOWN, 0.5, trimap / 255)
    unknown = trimap == UNKNOWN
    knn = 255 * pymatting.estimate_alpha_knn(rgb, labels)
    assert np.abs(make_matte("knn", photo, trimap) - knn)[unknown].max() < 1
    closed = 255 * pymatting.estimate_alpha_cf(rgb, labels)
    assert np.abs(make_matte("closed_form", photo, trimap) - closed)[unknown].mean() < 2


def test_composite_shows_the_background_and_keeps_the_person(portraits):
    _, photo, matte, _ = portraits[0]
    background = gradient_background(matte.shape)
    found = composite(photo, matte, background)
    np.testing.assert_array_equal(found[matte == 0], background[matte == 0])
    np.testing.assert_array_equal(found[matte == 255], photo[matte == 255])


def test_composite_leaves_no_rim_of_the_old_background():
    """A red person with a soft edge before green, laid over blue."""
    matte = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))
    share = matte[:, :, None] / 255
    red, green, blue = np.array([0, 0, 220.0]), np.array([0, 200.0, 0]), np.array([230.0, 0, 0])
    photo = np.rint(share * red + (1 - share) * green).astype(np.uint8)
    background = np.broadcast_to(blue.astype(np.uint8), photo.shape)
    found = composite(photo, matte, background)[:, :, 1]
    assert np.mean(found) < 0.2 * np.mean(((1 - share) * share * green)[:, :, 1])


@pytest.mark.parametrize("size", [(50, 70), (400, 90), (30, 300)])
def test_background_covers_the_frame(size):
    image = np.full((*size, 3), 50, np.uint8)
    fitted = fit_background(image, (160, 120))
    assert fitted.shape == (160, 120, 3) and (fitted == 50).all()


# --- the page ----------------------------------------------------------------


def test_page_holds_both_composites_of_every_portrait(made, portraits):
    data = page_of(made)
    assert data["methods"] == list(METHODS)
    assert [p["stem"] for p in data["portraits"]] == [stem for stem, *_ in portraits]
    for shown, (stem, photo, _, _) in zip(data["portraits"], portraits, strict=True):
        pictures = {}
        for part, address in shown["pictures"].items():
            kind, content = address.split(",")
            assert kind == "data:image/jpeg;base64"
            file = np.frombuffer(base64.b64decode(content), np.uint8)
            pictures[part] = cv2.imdecode(file, cv2.IMREAD_COLOR).astype(int)
        assert pictures.keys() == {"photo", *METHODS}
        assert np.abs(pictures["photo"] - photo).mean() < 2
        for method in METHODS:
            matte = read_matte(made / "out" / "candidates" / method / f"{stem}.png")
            expected = composite(photo, matte, gradient_background(matte.shape))
            assert np.abs(pictures[method] - expected).mean() < 2


def test_pictures_too_large_to_embed_stay_files(single, portraits, monkeypatch):
    name = "a#b é"
    for folder in ("photos", "trimaps"):
        first = single / folder / f"{portraits[0][0]}.png"
        first.rename(first.with_stem(name))
    monkeypatch.setattr(page, "LARGEST_EMBEDDED", 1000)
    make(single)
    (shown,) = (p for p in page_of(single)["portraits"] if p["stem"] == name)
    assert shown["pictures"]["knn"] == "candidates/previews/a%23b%20%C3%A9.knn.jpg"
    assert (single / "out/candidates/previews" / f"{name}.knn.jpg").is_file()


def test_name_that_ends_a_script_does_not_break_the_page():
    data = {"methods": [], "portraits": [{"stem": "</script><b>"}]}
    text = page.render_page(data)
    start = text.index('id="data">') + len('id="data">')
    assert json.loads(text[start : text.index("</script>", start)]) == data


def test_own_background_is_used(single):
    color = np.array([10, 200, 30], np.uint8)
    write_image(single / "ground.png", np.broadcast_to(color, (40, 40, 3)).copy())
    make(single, "--background", str(single / "ground.png"))
    stem = page_of(single)["portraits"][0]["stem"]
    over = read_photo(single / f"out/candidates/previews/{stem}.knn.jpg").astype(int)
    matte = read_matte(single / f"out/candidates/knn/{stem}.png")
    assert np.abs(over - color)[matte == 0].mean() < 3


# --- resuming and bad files --------------------------------------------------


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def test_second_run_redoes_only_what_changed(made, portraits, capsys):
    before = times(made / "out")
    make(made)
    assert "3 portraits with candidates, 0 of them new" in capsys.readouterr().out
    assert times(made / "out") == before
    stem, _, _, trimap = portraits[1]
    changed = trimap.copy()
    changed[0, 0] = UNKNOWN
    write_image(made / "trimaps" / f"{stem}.png", changed)
    make(made)
    assert "3 portraits with candidates, 1 of them new" in capsys.readouterr().out
    after = times(made / "out")
    assert {path.stem for path in before if before[path] != after[path]} == {stem}


def test_interrupted_run_goes_on(made, capsys):
    """As a kill leaves it: two records and half of a third in the journal."""
    folder = made / "out" / "candidates"
    index = json.loads((folder / "candidates.json").read_text())
    (folder / "candidates.json").unlink()
    lines = [json.dumps(record) for record in index["records"][:2]]
    (folder / "unfinished.jsonl").write_text("\n".join([*lines, '{"stem": "p']))
    capsys.readouterr()
    make(made)
    assert "3 portraits with candidates, 1 of them new" in capsys.readouterr().out
    assert json.loads((folder / "candidates.json").read_text()) == index
    assert not (folder / "unfinished.jsonl").exists()


def test_every_bad_file_is_listed(made, portraits, capsys):
    _, photo, _, trimap = portraits[0]
    photos, trimaps = made / "photos", made / "trimaps"
    for name in ("size", "gray", "unlabeled", "torn"):
        write_image(photos / f"{name}.jpg", photo)
        write_image(trimaps / f"{name}.png", trimap)
    write_image(trimaps / "size.png", trimap[:-1])
    write_image(trimaps / "gray.png", np.where(trimap == UNKNOWN, 70, trimap).astype(np.uint8))
    write_image(trimaps / "unlabeled.png", np.full_like(trimap, FOREGROUND))
    (photos / "torn.jpg").write_bytes((photos / "torn.jpg").read_bytes()[:300])
    write_image(photos / "lonely.jpg", photo)
    write_image(trimaps / "orphan.png", trimap)
    assert make(made) == 0
    printed = capsys.readouterr().out
    assert "3 portraits with candidates" in printed and "6 files rejected:" in printed
    for sentence in (
        "trimaps/size.png: it is 120x159 pixels, its photo 120x160",
        "trimaps/gray.png: it has ",
        "trimaps/unlabeled.png: it has no background pixels",
        "photos/torn.jpg: it is not a readable image",
        "photos/lonely.jpg: it has no trimap",
        "trimaps/orphan.png: it has no photo",
    ):
        assert sentence in printed


def test_nothing_to_choose_from_is_a_failure(collection):
    for path in (collection / "trimaps").iterdir():
        path.write_text("no trimap")
    with pytest.raises(InputError, match="No matte could be made"):
        make(collection)


# --- applying ----------------------------------------------------------------


def test_chosen_mattes_become_a_dataset(made, portraits, capsys):
    first, second, third = (stem for stem, *_ in portraits)
    choices = choose(made, **{first: "knn", second: "closed_form", third: "discard"})
    assert apply(made, choices) == 0
    printed = capsys.readouterr().out
    assert "2 portraits; 1 closed_form, 1 knn, 1 discard." in printed
    out = made / "out"
    dataset = Dataset.open(out)
    assert sorted(p.stem for p in dataset.portraits) == [first, second]
    for stem, method in ((first, "knn"), (second, "closed_form")):
        chosen = read_matte(out / "candidates" / method / f"{stem}.png")
        np.testing.assert_array_equal(read_matte(out / "mattes" / f"{stem}.png"), chosen)
        copied = (out / "images" / f"{stem}.png").read_bytes()
        assert copied == (made / "photos" / f"{stem}.png").read_bytes()
    manifest = DatasetManifest.load(out)
    assert manifest.choices == {first: "knn", second: "closed_form", third: "discard"}
    assert manifest.files.keys() == {
        f"{part}/{stem}.png" for part in ("images", "mattes") for stem in (first, second)
    }

    # Another choice replaces the first; what is undecided is said.
    assert apply(made, choose(made, **{third: "knn", first: "closed_form"})) == 0
    printed = capsys.readouterr().out
    assert f"photos/{second}.png: no choice was made in choose.html" in printed
    assert sorted(p.name for p in (out / "mattes").iterdir()) == [f"{first}.png", f"{third}.png"]
    np.testing.assert_array_equal(
        read_matte(out / "mattes" / f"{first}.png"),
        read_matte(out / "candidates" / "closed_form" / f"{first}.png"),
    )
    Dataset.open(out)


def test_interrupted_apply_is_no_dataset_until_it_is_repeated(made, portraits):
    choices = choose(made, **{stem: "knn" for stem, *_ in portraits})
    apply(made, choices)
    out = made / "out"
    (out / "dataset.json").unlink()
    files = [p.relative_to(out).as_posix() for p in (out / "mattes").iterdir()]
    (out / "unfinished.jsonl").write_text(json.dumps({"files": files}))
    with pytest.raises(InputError, match="not finished"):
        Dataset.open(out)
    apply(made, choices)
    assert len(Dataset.open(out).portraits) == 3


def test_applied_dataset_can_be_cropped(made, sample, tmp_path):
    """Labeled at the photo's own size, cropped to 600x800 afterwards."""
    for portrait in sample.train[:2]:
        photo, matte = (
            cv2.resize(image, (300, 400), interpolation=cv2.INTER_AREA)
            for image in (read_photo(portrait.photo), read_matte(portrait.matte))
        )
        write_image(made / "photos" / f"{portrait.stem}.png", photo)
        write_image(made / "trimaps" / f"{portrait.stem}.png", labeled(matte))
    make(made)
    stems = [p.stem for p in sample.train[:2]]
    apply(made, choose(made, **dict.fromkeys(stems, "closed_form")))
    arguments = [str(made / "out"), "--format", "plain", "--out", str(tmp_path / "cropped")]
    assert import_main([*arguments, "--workers", "1"]) == 0
    dataset = Dataset.open(tmp_path / "cropped")
    dataset.check_pixels(shape=(800, 600))
    assert sorted(p.stem for p in dataset.portraits) == stems


def test_choices_that_do_not_fit_are_refused(made, portraits):
    stem = portraits[0][0]
    good = choose(made, **{stem: "knn"})
    cases = {
        "is not what choose.html saves": "no JSON",
        "is not what choose.html": json.dumps({"choices": {stem: "knn"}}),
        "is not what": json.dumps([1]),
        "chooses for nobody, which has no candidates": {
            "choices": {"nobody": {"method": "knn", "candidates": ""}}
        },
        f"chooses 'magic' for {stem}; there are closed_form, knn, discard": {
            "choices": {stem: {**good["choices"][stem], "method": "magic"}}
        },
        f"is older than the mattes of {stem}": {
            "choices": {stem: {"method": "knn", "candidates": "another"}}
        },
        "chooses no matte": choose(made, **{stem: "discard"}),
    }
    for sentence, choices in cases.items():
        with pytest.raises(InputError, match=sentence):
            apply(made, choices)
        assert not (made / "out" / "images").exists()
    (made / f"out/candidates/knn/{stem}.png").write_bytes(b"other")
    with pytest.raises(InputError, match="has changed since it was made"):
        apply(made, good)


def test_dataset_of_another_kind_is_left_alone(made, portraits):
    stem, photo, *_ = portraits[0]
    mine = made / "out" / "images" / "mine.png"
    write_image(mine, photo)
    with pytest.raises(InputError, match="dataset of another kind"):
        apply(made, choose(made, **{stem: "knn"}))
    DatasetManifest(origin={"format": "p3m"}, files={"images/mine.png": ""}).save(mine.parents[1])
    with pytest.raises(InputError, match="dataset of another kind"):
        apply(made, choose(made, **{stem: "knn"}))
    assert mine.is_file()


def test_apply_needs_candidates(collection):
    with pytest.raises(InputError, match="holds no candidates; run"):
        apply(collection, {"choices": {}})


def test_photos_among_the_candidates_are_refused(collection):
    out = collection / "out"
    photos = out / "candidates" / "photos"
    photos.mkdir(parents=True)
    for given in ([photos, collection / "trimaps"], [collection / "photos", photos]):
        with pytest.raises(InputError, match="photos lies in .*candidates, which is written"):
            main([*map(str, given), "--out", str(out)])


def test_options_that_cannot_work(collection):
    out = str(collection / "out")
    photos = str(collection / "photos")
    cases = {
        "Give a folder of photos": [photos, "--out", out],
        "nowhere is no folder": [photos, str(collection / "nowhere"), "--out", out],
        "takes no folders": [photos, photos, "--apply", "x.json", "--out", out],
        "--background is for": ["--apply", "x.json", "--out", out, "--background", "x.png"],
        "ground.png does not exist": [
            photos,
            photos,
            "--out",
            out,
            "--background",
            str(collection / "ground.png"),
        ],
    }
    for sentence, arguments in cases.items():
        with pytest.raises(InputError, match=sentence):
            main(arguments)
