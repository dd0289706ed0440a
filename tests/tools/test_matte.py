"""The program a user runs first."""

from __future__ import annotations

import functools
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from caffe_layers.color_models import foreground_colors
from data_prep.common.assets import fetch
from data_prep.common.errors import InputError
from data_prep.common.images import read_photo
from data_prep.common.pictures import encode_picture, read_picture
from tools import matte
from tools.matting import session
from tools.outputs import batch as matte_jobs
from tools.outputs import journal, sheets
from tools.outputs.effects import EFFECTS
from tools.outputs.rendering import LoadedRequest, Request

PROGRAM = Path(matte.__file__)
ARTIST = 0x013B
NO_UTF_8 = os.fsdecode(b"lat\xe9in.jpg")


def run(*arguments: object, cwd: Path, text: bool = True, **options) -> subprocess.CompletedProcess:
    """Run tools/matte.py as a user does."""
    command = [sys.executable, PROGRAM, *arguments]
    return subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=text, **options
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> tuple[subprocess.CompletedProcess, Path]:
    folder = tmp_path_factory.mktemp("run")
    return run(fetch("astronaut"), cwd=folder), folder / "out"


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    """The astronaut at 200x200, with an artist in its EXIF."""
    path = tmp_path_factory.mktemp("photo") / "small.jpg"
    exif = Image.Exif()
    exif[ARTIST] = "Someone"
    with Image.open(fetch("astronaut")) as image:
        image.convert("RGB").resize((200, 200)).save(path, quality=95, exif=exif)
    return path


@pytest.fixture(scope="module")
def trimap(tmp_path_factory) -> Path:
    """A rough trimap of the same."""
    path = tmp_path_factory.mktemp("trimap") / "small.png"
    gray = np.full((200, 200), 128, np.uint8)
    gray[:, 140:] = gray[:30, :40] = 0
    gray[80:, 60:110] = 255
    cv2.imwrite(str(path), gray)
    return path


@pytest.fixture(scope="module")
def load_once():
    return functools.cache(session.MattingSession)


@pytest.fixture(autouse=True)
def one_model_for_all(monkeypatch, load_once):
    """Calls in this process share the loaded model, which takes a second each."""
    monkeypatch.setattr(session, "MattingSession", load_once)


def read(folder: Path, kind: str) -> np.ndarray:
    return cv2.imread(str(folder / f"astronaut_{kind}.png"), cv2.IMREAD_UNCHANGED)


# --- one photo ----------------------------------------------------------------


def test_astronaut(results):
    process, folder = results
    assert process.returncode == 0, process.stderr
    assert len(process.stdout.strip().splitlines()) == 1
    alpha = read(folder, "alpha") / 255
    assert alpha.shape == (512, 512)
    assert alpha[60:430, 205:245].min() > 0.95  # face, neck, chest
    assert alpha[:40, :100].max() < 0.05
    assert alpha[:200, 350:].max() < 0.05  # the shuttle
    hair = alpha[15:130, 145:310]
    assert np.mean((hair > 0.1) & (hair < 0.9)) > 0.005


def test_cutout_and_sheet(results):
    _, folder = results
    person, alpha, picture = (read(folder, kind) for kind in ("cutout", "alpha", "sheet"))
    np.testing.assert_array_equal(person[:, :, 3], alpha)
    photo = read_photo(fetch("astronaut"))
    solid = alpha == 255
    assert np.abs(person[solid, :3] - photo[solid].astype(float)).mean() < 2
    assert picture.shape == (512, 3 * 512 + 2 * sheets.GAP, 3)
    np.testing.assert_array_equal(picture[:, :512], photo)
    np.testing.assert_array_equal(picture[:, -512:, 0], alpha)
    assert [path.name for path in folder.glob(".*")] == [journal.NAME]  # no scratch files


def test_cutout_is_free_of_the_old_background():
    _, columns = np.mgrid[:60, :80]
    alpha = np.clip((columns - 30) / 20, 0, 1)
    person, ground = np.array([40, 60, 200]), np.array([30, 220, 40])
    photo = alpha[:, :, None] * person + (1 - alpha[:, :, None]) * ground
    colors = foreground_colors(np.uint8(np.round(photo)), alpha).astype(float)
    edge = (alpha > 0.2) & (alpha < 0.9)
    assert np.abs(colors[edge] - person).max() < 25
    assert np.abs(photo[edge] - person).max() > 100


def test_missing_photo_is_one_sentence_and_a_failure(tmp_path):
    process = run("nobody.jpg", cwd=tmp_path)
    assert process.returncode == 1
    assert len(process.stderr.strip().splitlines()) == 1
    assert "nobody.jpg" in process.stderr
    assert not (tmp_path / "out").exists()


def test_bad_photos_are_refused(tmp_path):
    corrupt, tiny = tmp_path / "corrupt.jpg", tmp_path / "tiny.png"
    corrupt.write_bytes(fetch("astronaut").read_bytes()[:5000])
    cv2.imwrite(str(tiny), np.zeros((2, 9, 3), np.uint8))
    for path in (corrupt, tiny):
        with pytest.raises(InputError, match=path.name):
            matte.main([str(path), "-o", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_no_face_is_said(tmp_path, capsys):
    photo = read_photo(fetch("astronaut"))
    face = photo[60:190, 160:290]
    face[:] = np.median(face, axis=(0, 1))  # of the color of skin
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA))
    out = tmp_path / "out"
    assert matte.main([str(path), "-o", str(out)]) == 0
    sentence = f"{path}: no face was found, so the size of the head is a guess."
    assert sentence in capsys.readouterr().err
    assert (out / "small_alpha.png").exists()
    many = [str(tmp_path), "-o", str(out), "--json", "--overwrite", "--workers", "1"]
    assert matte.main(many) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [sentence]


def test_nobody_in_the_photo_is_exit_status_3(tmp_path):
    path = tmp_path / "sky.png"
    cv2.imwrite(str(path), np.full((200, 300, 3), (230, 180, 120), np.uint8))
    process = run(path, cwd=tmp_path)
    assert process.returncode == 3
    assert "nobody was found in" in process.stderr and "Traceback" not in process.stderr
    assert not (tmp_path / "out").exists()


def test_all_outputs_in_all_formats(small, tmp_path):
    for suffix, name in (("png", "png"), ("webp", "webp"), ("tif", "tiff")):
        out = tmp_path / name
        status = matte.main(
            [
                str(small),
                "-o",
                str(out),
                "--format",
                name,
                "--background",
                "#102030",
                "--output",
                "alpha,cutout,composite,sheet,trimap",
            ]
        )
        assert status == 0
        found = {path.name for path in out.glob("[!.]*")}
        assert found == {
            f"small_alpha.{suffix}",
            f"small_cutout.{suffix}",
            f"small_composite.{suffix}",
            "small_sheet.png",
            "small_trimap.png",
        }
        with Image.open(out / f"small_cutout.{suffix}") as image:
            assert image.mode == "RGBA" and image.size == (200, 200)
            assert image.getexif()[ARTIST] == "Someone"
        corner = read_picture(out / f"small_composite.{suffix}").bgr[2, 197]
        depth = 257 if name == "tiff" else 1
        assert np.abs(corner.astype(int) - np.array((0x30, 0x20, 0x10)) * depth).max() <= 3 * depth
    trimap = cv2.imread(str(tmp_path / "png" / "small_trimap.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(trimap)) == {0, 128, 255}


def test_sixteen_bit_photo_gives_sixteen_bit_files(small, tmp_path):
    deep = np.uint16(read_photo(small)) * 257 + 100 * (read_photo(small) < 255)
    path = tmp_path / "deep.png"
    path.write_bytes(encode_picture(np.uint16(deep), ".png"))
    assert matte.main([str(path), "-o", str(tmp_path)]) == 0
    alpha, person = (
        cv2.imread(str(tmp_path / f"deep_{kind}.png"), cv2.IMREAD_UNCHANGED)
        for kind in ("alpha", "cutout")
    )
    assert alpha.dtype == person.dtype == np.uint16
    assert len(np.unique(alpha)) > 300
    np.testing.assert_array_equal(person[:, :, 3], alpha)


def test_trimap_and_mask_from_outside(small, trimap, tmp_path):
    alphas = []
    for option in ("--trimap", "--mask"):
        out = tmp_path / option
        assert matte.main([str(small), option, str(trimap), "-o", str(out)]) == 0
        alphas.append(cv2.imread(str(out / "small_alpha.png"), cv2.IMREAD_UNCHANGED))
    given = cv2.imread(str(trimap), cv2.IMREAD_UNCHANGED)
    assert alphas[0][given == 255].min() >= 254 and alphas[0][given == 0].max() <= 1
    assert alphas[1][150, 80] > 250 and alphas[1][100, 190] < 5


def test_trimap_of_another_photo_is_refused(small, trimap, tmp_path):
    wide = tmp_path / "wide.png"
    cv2.imwrite(str(wide), np.zeros((150, 200), np.uint8))
    with pytest.raises(InputError, match=r"wide\.png is 200x150, and .*small\.jpg is 200x200"):
        matte.main([str(small), "--trimap", str(wide), "-o", str(tmp_path / "out")])


def test_composite_over_image_color_and_blur(small, tmp_path):
    beach = tmp_path / "beach.png"
    cv2.imwrite(str(beach), np.full((50, 90, 3), (200, 150, 40), np.uint8))
    pictures = {}
    for text in (str(beach), "white", "blur"):
        out = tmp_path / f"{Path(text).stem}.jpg"
        assert matte.main([str(small), "--background", text, "-o", str(out)]) == 0
        pictures[Path(text).stem] = cv2.imread(str(out)).astype(int)
    assert np.abs(pictures["beach"][5, 190] - (200, 150, 40)).max() < 6
    assert pictures["white"][5, 190].min() > 250
    photo = read_photo(small).astype(int)
    assert np.abs(pictures["blur"][5, 190] - photo[:15, 180:].mean(axis=(0, 1))).max() < 20
    for picture in pictures.values():  # the person is the same in all
        assert np.abs(picture[30:40, 85:95] - photo[30:40, 85:95]).mean() < 5


def test_effects_each_and_on_one_sheet(small, tmp_path):
    arguments = [str(small), "-o", str(tmp_path), "--effects"]
    assert matte.main([*arguments, "sheet,oil-person"]) == 0
    assert {path.name for path in tmp_path.glob("[!.]*")} == {
        "small_effects.png",
        "small_oil-person.png",
    }
    sheet = cv2.imread(str(tmp_path / "small_effects.png"))
    assert sheet.shape[1] > 5 * 200
    page = tmp_path / "page.jpg"
    assert matte.main([str(small), "-o", str(page), "--effects", "sheet"]) == 0
    with Image.open(page) as image:
        assert image.format == "JPEG" and image.size == sheet.shape[1::-1]
    assert matte.main([*arguments, "all"]) == 0
    assert {f"small_{name}.png" for name in EFFECTS} <= {p.name for p in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--background", "no such thing"], "is no image file, no color and not 'blur'"),
        (["--background", "rgb(300,0,0)"], "is no image file, no color and not 'blur'"),
        (["--background", "hsl(0,200%,50%)"], "is no image file, no color and not 'blur'"),
        (["--background", "#20a06000"], "#20a06000 is not opaque; leave its last value out"),
        (["-o", "a.jpg"], "JPEG holds no transparency"),
        (
            ["-o", "a.png", "--output", "alpha,cutout"],
            "a.png has room for one output, not for alpha, cutout",
        ),
        (["-o", "a.png", "--format", "webp"], "contradict each other"),
        (["-o", "-", "--json"], "both want standard output"),
        (["-o", "cut.bmp"], r"cut.bmp is no picture .* let it end in .png, .webp, .tif, .jpg, or"),
        (["-o", "new/cut.heic"], "cut.heic is no picture"),
        (["-o", "cut.pgn"], "cut.pgn is no picture"),
        (["again.jpg", "-o", "a.png"], "There are several photos, so -o has to name a folder too"),
        (["--output", "composite"], "--output composite needs --background"),
        (["--background", "red", "--output", "cutout"], "add composite to --output"),
        (["--match-colors"], "--match-colors needs --background"),
        (["--match-colors", "--background", "blur"], "with a color or an image"),
        (["--trimap", "a", "--mask", "b"], "--trimap and --mask exclude each other"),
        (["--mask", "a", "--model", "selfie"], "--model and --mask exclude each other"),
        (["--alpha", "a", "--nonlocal", "1e-3"], "--nonlocal is of the solve"),
        (["--segmenter-settings", "{}"], "--segmenter-settings needs --segmenter"),
        (["--cluster", "tcp://127.0.0.1:9"], "--cluster is for folders and several photos"),
        (["--workers", "0"], "too few; give 1 or more"),
        (["--workers", "-1"], "too few; give 1 or more"),
    ],
)
def test_options_that_cannot_work(small, tmp_path, monkeypatch, capsys, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        matte.main([str(small), *arguments])
    assert re.search(sentence, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_file_that_an_option_names_and_is_not_there_is_a_failure(small, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="lost.png does not exist"):
        matte.main([str(small), "--trimap", "lost.png"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "photos"),
    [
        (["--", "-dash.jpg"], ["-dash.jpg"]),
        (
            ["a.jpg", "--json", "b.jpg", "--", "--json", "c.jpg"],
            ["a.jpg", "b.jpg", "--json", "c.jpg"],
        ),
        (["-o", "out", "--", "-"], ["-"]),
    ],
)
def test_what_follows_two_dashes_is_a_photo(arguments, photos):
    options, _, _ = matte.parse(arguments)
    assert [matte.name_in_folder(photo) for photo in options.photos] == [
        Path("stdin" if photo == "-" else photo) for photo in photos
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--effects", "glitter"],
        ["--output", "alpha,"],
        ["--format", "gif"],
        ["--nonlocal", "-1"],
        ["--nonlocal", "nan"],
        ["--nonlocal", "much"],
    ],
)
def test_unknown_options_are_exit_status_2(small, arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        matte.main([str(small), *arguments])
    assert "error:" in capsys.readouterr().err


def test_folder_may_be_called_like_a_file(small, trimap, tmp_path):
    (tmp_path / "there.bmp").mkdir()
    for out in (tmp_path / "there.bmp", tmp_path / "2024.11.28", f"{tmp_path / 'new.v2'}/"):
        arguments = [str(small), "-o", str(out), "--trimap", str(trimap), "--output", "alpha"]
        assert matte.main(arguments) == 0
        assert (Path(out) / "small_alpha.png").is_file()


def test_what_is_read_is_never_written_over(small, trimap, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    read = {"me.png": small, "tri.png": trimap, "beach.png": small, "me_alpha.png": small}
    for name, source in read.items():
        Path(name).write_bytes(source.read_bytes())
    Path("link.png").symlink_to("me.png")
    Path("hard.png").hardlink_to("me.png")
    given = ["--trimap", "tri.png", "--background", "beach.png"]
    for arguments in (
        *(["me.png", *given, "-o", name] for name in ("./me.png", "link.png", "hard.png")),
        ["me.png", *given, "-o", "tri.png"],
        ["me.png", *given, "-o", "beach.png"],
        ["link.png", "-o", "me.png"],
        ["me.png", "--mask", "tri.png", "-o", "tri.png"],
        ["me.png", "me_alpha.png", "-o", ".", "--output", "alpha"],
    ):
        with pytest.raises(InputError, match="is read and would be replaced"):
            matte.main(arguments)
    with open("me.png", "rb") as stream:
        process = run("-", "-o", "me.png", cwd=tmp_path, stdin=stream)
    assert process.returncode == 1 and "is read and would be replaced" in process.stderr
    assert len(list(tmp_path.iterdir())) == 6
    for name, source in read.items():
        assert Path(name).read_bytes() == source.read_bytes()


def test_one_photo_that_fails_or_shows_nobody_is_a_json_line_too(tmp_path, capsys):
    bad, sky = tmp_path / "bad.jpg", tmp_path / "sky.png"
    bad.write_bytes(b"no photo")
    cv2.imwrite(str(sky), np.full((200, 300, 3), (230, 180, 120), np.uint8))
    with pytest.raises(InputError):
        matte.main([str(bad), "-o", str(tmp_path), "--json"])
    line = json.loads(capsys.readouterr().out)
    assert (line["photo"], line["status"], line["files"]) == (str(bad), "failed", {})
    assert "bad.jpg is not a readable image" in line["message"]
    assert matte.main([str(sky), "-o", str(tmp_path), "--json"]) == 3
    told = capsys.readouterr()
    line = json.loads(told.out)
    assert (line["photo"], line["status"], line["width"]) == (str(sky), "nobody", 300)
    assert "nobody was found in" in line["message"] and line["message"] in told.err


def test_photo_that_the_system_cannot_read_is_a_sentence_in_its_json_line(tmp_path, capsys):
    photo, alpha = tmp_path / "photos/bad.jpg", tmp_path / "mattes/bad.png"
    for path in (photo, alpha):
        path.parent.mkdir()
    photo.symlink_to("/proc/self/mem")  # a file whose first byte cannot be read, by root either
    alpha.write_bytes(b"never read")
    options = ["--alpha", str(alpha.parent), "-o", str(tmp_path / "out"), "--json"]
    with pytest.raises(OSError):
        matte.main([str(photo), *options])
    told = [json.loads(capsys.readouterr().out)]
    assert matte.main([str(photo.parent), *options, "--workers", "1"]) == 1
    told.append(json.loads(capsys.readouterr().out))
    for line in told:
        assert (line["photo"], line["status"]) == (str(photo), "failed")
        assert f"{photo}: " in line["message"] and "could not be read" in line["message"]


def test_what_is_left_out_of_a_photo_is_said(small, trimap, tmp_path):
    photo = tmp_path / "photo.jpg"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    with Image.open(small) as image:
        image.save(photo, icc_profile=profile + bytes(1))
    process = run(photo, "--trimap", trimap, "--json", "-o", tmp_path / "out", cwd=tmp_path)
    assert process.returncode == 0
    (sentence,) = json.loads(process.stdout)["warnings"]
    assert sentence.startswith(f"{photo}: its color profile cannot be used")
    assert process.stderr == f"matte.py: {sentence}\n"
    for kind in ("alpha", "cutout", "sheet"):
        with Image.open(tmp_path / f"out/photo_{kind}.png") as image:
            image.load()


@pytest.mark.parametrize(
    ("encoding", "arguments", "told"),
    [
        ("utf-8", [NO_UTF_8], r"lat\udce9in.jpg, 200x200"),
        ("ascii", [".", "--json", "--workers", "1"], json.dumps({"photo": NO_UTF_8})[:-1]),
    ],
    ids=["a photo, UTF-8", "a folder, ASCII"],
)
def test_name_that_is_no_utf_8(small, trimap, tmp_path, encoding, arguments, told):
    (tmp_path / NO_UTF_8).write_bytes(small.read_bytes())
    given = "--output", "alpha", "--trimap", trimap
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    process = run(*arguments, *given, cwd=tmp_path, env=environment)
    assert process.returncode == 0 and "Traceback" not in process.stderr
    assert process.stdout.startswith(told)
    assert (tmp_path / "out" / os.fsdecode(b"lat\xe9in_alpha.png")).is_file()


def test_only_want_of_memory_is_called_so():
    with pytest.raises(InputError, match="a.jpg takes more memory than there is"):
        with matte_jobs._faults_named("a.jpg"):
            cv2.resize(np.zeros((3, 3), np.uint8), (2**31 - 1, 1_000_000))
    with pytest.raises(InputError, match="a.jpg could not be matted, by a fault .* report it") as e:
        with matte_jobs._faults_named("a.jpg"):
            cv2.GaussianBlur(np.zeros((9, 9), np.uint8), (2, 2), 0)
    assert "memory" not in str(e.value) and len(str(e.value).splitlines()) == 1


def test_session_is_silent(tmp_path):
    """Caffe prints every layer of a net unless it is told not to before its import."""
    program = "from tools.matting.session import MattingSession; MattingSession()"
    environment = {k: v for k, v in os.environ.items() if k != "GLOG_minloglevel"}
    environment["PYTHONPATH"] = str(PROGRAM.parents[1])
    process = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, b"", b"")


# --- pipes --------------------------------------------------------------------


def test_pipe(small, tmp_path):
    process = run("-", "--format", "webp", cwd=tmp_path, text=False, input=small.read_bytes())
    assert process.returncode == 0 and process.stderr == b""
    with Image.open(io.BytesIO(process.stdout)) as image:
        assert (image.format, image.mode, image.size) == ("WEBP", "RGBA", (200, 200))
    assert not list(tmp_path.iterdir())


def test_process_substitution_and_standard_input_by_its_path(small, trimap, tmp_path):
    ends = os.pipe()
    os.write(ends[1], small.read_bytes())
    os.close(ends[1])
    given = "--output", "alpha", "--trimap", trimap
    process = run(f"/dev/fd/{ends[0]}", *given, cwd=tmp_path, pass_fds=ends[:1])
    os.close(ends[0])
    assert process.returncode == 0, process.stderr
    with open(small, "rb") as stream:
        again = run("/dev/stdin", *given, "-o", "again", cwd=tmp_path, stdin=stream)
    assert again.returncode == 0, again.stderr
    first, second = (tmp_path / name / "stdin_alpha.png" for name in ("out", "again"))
    assert first.read_bytes() == second.read_bytes()
    empty = run("/dev/null", cwd=tmp_path)
    assert empty.returncode == 1 and empty.stdout == ""
    assert empty.stderr == (
        "matte.py: /dev/null is not a readable image: it is empty; give the photo itself.\n"
    )


@pytest.mark.parametrize("content", [b"", b"no photo"])
def test_pipe_that_holds_no_photo(tmp_path, content):
    process = run("-", cwd=tmp_path, text=False, input=content)
    assert process.returncode == 1 and process.stdout == b""
    assert process.stderr.startswith(b"matte.py: standard input is not a readable image")
    assert process.stderr.count(b"\n") == 1


# --- folders ------------------------------------------------------------------


@pytest.fixture
def folder(small, tmp_path) -> Path:
    """Two photos of one name, one in a folder of its own, a bad one, an empty one, a text."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "more/b.JPG"):
        (folder / name).write_bytes(small.read_bytes())
    (folder / "a.png").write_bytes(encode_picture(read_photo(small), ".png"))
    (folder / "bad.jpg").write_bytes(small.read_bytes()[:2000])
    cv2.imwrite(str(folder / "empty.png"), np.full((80, 80, 3), 200, np.uint8))
    (folder / "notes.txt").write_text("not a photo")
    (folder / ".hidden.jpg").write_bytes(small.read_bytes())
    return folder


def test_folder_goes_past_a_bad_file_and_skips_what_is_done(folder, tmp_path, capsys):
    out = folder / "mattes"  # inside: what is written is no photo of the next run
    arguments = [str(folder), "-o", str(out), "--output", "cutout", "--workers", "1"]
    assert matte.main(arguments) == 1
    told = capsys.readouterr()
    assert "5 photos: 3 done" in told.out and "1 without a person, 1 failed" in told.out
    assert told.err.count("bad.jpg") == 1 and "nobody was found in" in told.err
    written = {str(path.relative_to(out)) for path in out.rglob("[!.]*") if path.is_file()}
    assert written == {"a_jpg_cutout.png", "a_png_cutout.png", "more/b_cutout.png"}

    (out / "more/b_cutout.png").unlink()
    kept = (out / "a_jpg_cutout.png").stat().st_mtime_ns
    assert matte.main([*arguments, "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["status"] for line in lines] == ["skipped", "skipped", "failed", "nobody", "done"]
    assert "bad.jpg" in lines[2]["message"]
    assert lines[4]["files"] == {"cutout": str(out / "more/b_cutout.png")}
    assert (lines[4]["width"], lines[4]["height"]) == (200, 200)
    assert (out / "a_jpg_cutout.png").stat().st_mtime_ns == kept

    (folder / "bad.jpg").unlink()
    assert matte.main([*arguments, "--overwrite"]) == 0
    assert "3 done" in capsys.readouterr().out
    assert (out / "a_jpg_cutout.png").stat().st_mtime_ns > kept


def test_workers_write_the_same_files(folder, small, tmp_path):
    options = "--output", "cutout"
    process = run(folder, "-o", tmp_path / "out", *options, "--workers", 2, cwd=tmp_path)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert "3 done" in process.stdout
    assert matte.main([str(small), "-o", str(tmp_path / "one.png")]) == 0
    alone, among = (
        cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED).astype(int)
        for name in ("one.png", "out/more/b_cutout.png")
    )
    assert np.abs(alone[:, :, 3] - among[:, :, 3]).max() <= 1


def test_folder_of_trimaps(folder, trimap, tmp_path):
    trimaps = tmp_path / "trimaps"
    trimaps.mkdir()
    (trimaps / "b.png").write_bytes(trimap.read_bytes())
    out = tmp_path / "out"
    arguments = [str(folder / "more"), "--trimap", str(trimaps), "-o", str(out), "--workers", "1"]
    assert matte.main([*arguments, "--output", "alpha"]) == 0
    alpha = cv2.imread(str(out / "b_alpha.png"), cv2.IMREAD_UNCHANGED)
    assert alpha[100, 190] == 0 and alpha[150, 80] == 255


@pytest.mark.parametrize("option", ["--trimap", "--mask", "--alpha"])
def test_one_file_for_several_photos_is_refused(folder, trimap, tmp_path, option):
    arguments = [str(folder), option, str(trimap), "-o", str(tmp_path / "out")]
    with pytest.raises(InputError, match=r"small.png is one (trimap|mask|matte) for 5 photos"):
        matte.main(arguments)
    assert not (tmp_path / "out").exists()


def test_mask_that_may_be_of_any_of_three_photos_is_of_none(small, tmp_path):
    photos, masks = tmp_path / "photos", tmp_path / "masks"
    for name in ("photos/p.jpg", "photos/p.png", "photos/sub/p.jpg", "masks/p.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(small.read_bytes())
    jobs = matte_jobs.plan([str(photos)], tmp_path / "out", Request(("alpha",), mask=masks)).jobs
    assert len(jobs) == 3 and all("holds no mask for" in job.problem for job in jobs)


def test_several_photos_and_folders_on_one_line(folder, small, trimap, tmp_path, capsys):
    out, trimaps = tmp_path / "out", tmp_path / "trimaps"
    trimaps.mkdir()
    for name in ("small", "b", "lost"):
        (trimaps / f"{name}.png").write_bytes(trimap.read_bytes())
    given = ["--trimap", str(trimaps), "--output", "alpha", "--workers", "1"]
    places = [str(small), str(folder / "more"), str(tmp_path / "lost.jpg")]
    assert matte.main([places[0], "-o", str(out), *places[1:], str(small), *given]) == 1
    told = capsys.readouterr()
    assert "3 photos: 2 done" in told.out and "1 failed" in told.out
    assert "lost.jpg does not exist" in told.err
    written = {str(path.relative_to(out)) for path in out.rglob("*.png")}
    assert written == {"small_alpha.png", "more/b_alpha.png"}


def test_trimaps_that_were_written_can_be_given_back(folder, trimap, tmp_path):
    """To a tree, in which two photos have one name."""
    photos, trimaps, out = folder / "more", tmp_path / "trimaps", tmp_path / "out"
    for name in ("sub/b.jpg", "sub/b.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes((folder / f"a{Path(name).suffix}").read_bytes())
    for number, name in enumerate(("b", "sub/b_jpg", "sub/b_png")):
        path = trimaps / f"{name}_trimap.png"
        path.parent.mkdir(exist_ok=True, parents=True)
        gray = cv2.imread(str(trimap), cv2.IMREAD_UNCHANGED)
        gray[:20, 50 * number : 50 * number + 40] = 255
        cv2.imwrite(str(path), gray)
    arguments = [str(photos), "--trimap", str(trimaps), "-o", str(out), "--workers", "1"]
    assert matte.main([*arguments, "--output", "alpha"]) == 0
    for number, name in enumerate(("b", "sub/b_jpg", "sub/b_png")):
        alpha = cv2.imread(str(out / f"{name}_alpha.png"), cv2.IMREAD_UNCHANGED)
        assert [alpha[5, 50 * other + 20] > 250 for other in range(3)] == [
            other == number for other in range(3)
        ]


def test_changed_requests_are_done_again_and_others_are_not(folder, trimap, tmp_path, capsys):
    out, mine = tmp_path / "out", tmp_path / "mine.png"
    mine.write_bytes(trimap.read_bytes())
    beach = tmp_path / "beach.png"
    file = out / "b_composite.png"

    def state_after(*options: str) -> tuple[str, int]:
        arguments = [str(folder / "more"), "-o", str(out), "--workers", "1", "--json", *options]
        assert matte.main(["--trimap", str(mine), *arguments]) == 0
        return json.loads(capsys.readouterr().out)["status"], file.stat().st_mtime_ns

    def corner() -> list[int]:
        return cv2.imread(str(file))[2, 197].tolist()

    red = state_after("--background", "red")
    assert red[0] == "done" and corner() == [0, 0, 255]
    assert state_after("--background", "red") == ("skipped", red[1])
    assert state_after("--background", "blue")[0] == "done" and corner() == [255, 0, 0]
    for color in (30, 200):
        cv2.imwrite(str(beach), np.full((50, 50, 3), color, np.uint8))
        assert state_after("--background", str(beach))[0] == "done" and corner() == [color] * 3
    assert state_after("--background", str(beach), "--match-colors")[0] == "done"
    tied = "--background", str(beach), "--match-colors", "--nonlocal", "1e-3"
    assert state_after(*tied)[0] == "done"
    assert state_after(*tied, "--nonlocal", "3e-4")[0] == "done"
    assert state_after("--background", str(beach), "--match-colors", "--nonlocal", "0")[0] == "done"
    again = state_after("--background", str(beach), "--match-colors")
    assert again[0] == "skipped"
    gray = cv2.imread(str(mine), cv2.IMREAD_UNCHANGED)
    gray[80:120, 60:120] = 0
    cv2.imwrite(str(mine), gray)
    assert state_after("--background", str(beach), "--match-colors")[0] == "done"


def test_files_that_somebody_changed_or_made_are_kept(folder, trimap, tmp_path, capsys):
    photos, out = folder / "more", tmp_path / "out"
    (photos / "c.png").write_bytes((folder / "a.png").read_bytes())
    trimaps = tmp_path / "trimaps"
    trimaps.mkdir()
    for name in ("b", "c"):
        (trimaps / f"{name}.png").write_bytes(trimap.read_bytes())
    retouched, made = out / "b_alpha.png", out / "c_alpha.png"
    arguments = [str(photos), "--trimap", str(trimaps), "-o", str(out), "--workers", "1", "--json"]
    arguments += ["--output", "alpha"]

    def statuses(*options: str) -> list[str]:
        assert matte.main([*arguments, *options]) == 0
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert all((str(out) in line["message"]) == (line["status"] == "skipped") for line in lines)
        return [line["status"] for line in lines]

    out.mkdir()
    made.write_bytes(b"made by hand")
    assert statuses() == ["done", "skipped"]
    own = retouched.read_bytes()
    retouched.write_bytes(b"retouched")
    assert statuses() == statuses("--nonlocal", "1e-3") == ["skipped", "skipped"]
    assert (retouched.read_bytes(), made.read_bytes()) == (b"retouched", b"made by hand")
    assert statuses("--overwrite") == ["done", "done"]
    assert retouched.read_bytes() == own
    assert statuses("--nonlocal", "1e-3") == ["done", "done"]
    retouched.write_bytes(own)  # what was written once is nobody's work
    assert statuses("--nonlocal", "3e-4") == ["done", "done"]


def test_files_of_a_run_that_was_stopped_within_a_photo_are_its_own(small, trimap, tmp_path):
    def stopped(kind: str, content: bytes, /) -> None:
        if kind == "cutout":
            raise KeyboardInterrupt
        write(kind, content)

    request, out = Request(("alpha", "cutout"), trimap=trimap), tmp_path / "out"
    (job,) = matte_jobs.plan([str(small)], out, request).jobs
    write = matte_jobs.write_files(job, out)
    with pytest.raises(KeyboardInterrupt):
        matte_jobs.process(job, LoadedRequest(request), request, stopped)
    assert [path.name for path in out.glob("[!.]*")] == ["small_alpha.png"]
    (result,) = matte_jobs.run_jobs([job], request, out, workers=1, overwrite=False)
    assert result.status == "done"


@pytest.mark.parametrize("name", ["small_alpha.png", "keep.png"])
def test_file_that_one_photo_would_replace_is_moved_aside(small, trimap, tmp_path, capsys, name):
    """Unless it is the program's own, which a folder remembers, or --overwrite is given."""
    file = tmp_path / "out" / name
    arguments = [str(small), "--trimap", str(trimap), "--output", "alpha", "--json", "-o"]
    arguments += [str(file if name == "keep.png" else file.parent)]

    def warned(*options: str) -> list[str]:
        assert matte.main([*arguments, *options]) == 0
        return json.loads(capsys.readouterr().out)["warnings"]

    def there() -> set[str]:
        return {path.name for path in file.parent.glob("[!.]*")}

    assert warned() == warned() == []
    file.write_bytes(b"retouched")
    (sentence,) = warned()
    aside = file.with_stem(f"{file.stem}.stale-1")
    assert str(aside) in sentence and aside.read_bytes() == b"retouched"
    file.write_bytes(b"retouched again")
    assert warned("--overwrite") == [] and there() == {file.name, aside.name}
    assert bool(warned("--nonlocal", "1e-3")) == (name == "keep.png")


def test_place_of_outputs_is_checked_before_anything_is_matted(folder, small, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    for photo, out in (
        (folder, file),
        (small, file),
        (folder, file / "out"),
        (small, file / "a.png"),
    ):
        with pytest.raises(InputError, match="file is a file, not a folder; choose another place"):
            matte.main([str(photo), "-o", str(out)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into every folder")
def test_folder_that_may_not_be_written_into_is_said_at_once(folder, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    with pytest.raises(InputError, match="closed is a folder that may not be written into"):
        matte.main([str(folder), "-o", str(closed / "out")])


def test_killed_run_goes_on_with_what_it_did_not_remember(folder, trimap, tmp_path, capsys):
    out, trimaps = tmp_path / "out", tmp_path / "trimaps"
    (trimaps / "more").mkdir(parents=True)
    for name in ("a_jpg", "a_png", "bad", "empty", "more/b"):
        (trimaps / f"{name}.png").write_bytes(trimap.read_bytes())
    arguments = [str(folder), "--trimap", str(trimaps), "-o", str(out), "--output", "alpha"]
    assert matte.main([*arguments, "--workers", "1"]) == 1  # the bad file
    whole = (out / ".matte.jsonl").read_text().splitlines(keepends=True)
    (out / ".matte.jsonl").write_text("".join(whole[:1]) + whole[1][:30])
    for line in whole[1:]:
        (file,) = json.loads(line)["files"]
        (out / file).unlink()
    capsys.readouterr()
    assert matte.main([*arguments, "--workers", "1"]) == 1
    assert f"{len(whole) - 1} done into {out}, 1 there already" in capsys.readouterr().out
    assert matte.main([*arguments, "--workers", "1"]) == 1
    assert f"0 done into {out}, {len(whole)} there already" in capsys.readouterr().out


def test_outputs_of_another_run_are_passed_over_and_said(folder, trimap, tmp_path, capsys):
    photos = folder / "more"
    given = ["--trimap", str(trimap), "--output", "cutout", "--workers", "1"]
    for name in ("first", "second"):
        assert matte.main([str(photos), "-o", str(photos / name), *given]) == 0
    told = capsys.readouterr()
    assert f"passed over in {photos}: outputs of earlier runs: " in told.err
    assert [path.name for path in (photos / "second").glob("[!.]*")] == ["b_cutout.png"]


@pytest.mark.parametrize(
    ("out", "sentence"),
    [("a.png", "is a folder, so -o has to name a folder too"), ("-", "is a folder")],
)
def test_folders_need_a_folder(folder, tmp_path, monkeypatch, capsys, out, sentence):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        matte.main(["photos", "-o", out])
    assert sentence in capsys.readouterr().err


def test_folder_of_the_photos_is_not_that_of_the_outputs(folder):
    with pytest.raises(InputError, match="holds the photos"):
        matte.main([str(folder), "-o", str(folder)])


def test_folder_without_photos(tmp_path):
    with pytest.raises(InputError, match="holds no photos"):
        matte.main([str(tmp_path), "-o", str(tmp_path / "out")])


def test_model_that_is_missing_ends_the_run_at_once(folder, tmp_path, monkeypatch):
    """It is one sentence, not one for every photo."""

    def lost(*_model):
        raise InputError("lost.caffemodel does not exist; run make.")

    monkeypatch.setattr(session, "MattingSession", lost)
    with pytest.raises(InputError, match="lost.caffemodel"):
        matte.main([str(folder), "-o", str(tmp_path / "out"), "--workers", "1"])
