"""The local page and server: real processes, sockets and a real browser."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import urllib3
from checkout import ROOT
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from data_prep.common.images import encode_image, read_photo
from prototxt.catalog import MADE_WEIGHTS, NETS
from tools import serve
from tools.benchmarks.server import (
    PORTRAITS,
    Process,
    children,
    load,
    photos,
    pixels,
    running_server,
)
from tools.matting.segmenter import Segmenter
from tools.matting.session import Matte, MattingSession
from tools.outputs.effects import EFFECTS, composite, cut_out, from_float, replace_background

PATIENCE = 60  # seconds for one answer


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    photo = read_photo(sorted(PORTRAITS.iterdir())[0])
    return cv2.resize(photo, (300, 400), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def png(portrait) -> bytes:
    return encode_image(portrait, ".png")


@pytest.fixture(scope="module")
def session() -> MattingSession:
    return MattingSession()


@pytest.fixture(scope="module")
def matte(session, portrait) -> Matte:
    """What the server has to find in the portrait."""
    return session.matte(portrait)


@pytest.fixture(scope="module")
def server() -> Iterator[Process]:
    with running_server("--workers", "1") as process:
        yield process


@pytest.fixture(scope="module")
def strict() -> Iterator[Process]:
    """A server that soon says no."""
    with running_server(
        *("--workers", "1", "--queue", "1", "--queue-seconds", "0.05"),
        *("--megabytes", "1", "--megapixels", "0.5", "--upload-seconds", "1"),
    ) as process:
        yield process


def ask(
    server: Process,
    body: bytes | None = None,
    query: str = "",
    parts: dict[str, bytes] | None = None,
    method: str = "POST",
    path: str = "/matte",
    headers: dict[str, str] | None = None,
) -> urllib3.HTTPResponse:
    """One request, raw or (`parts`) multipart."""
    url = f"http://{server.host}:{server.port}{path}" + (f"?{query}" if query else "")
    with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
        if parts is None:
            return pool.request(method, url, body=body, headers=headers)
        fields = {name: (f"{name}.png", content) for name, content in parts.items()}
        return pool.request(method, url, fields=fields, headers=headers)


def send(server: Process, fields) -> urllib3.HTTPResponse:
    """A multipart request of files and of text fields."""
    with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
        return pool.request("POST", f"http://{server.host}:{server.port}/matte", fields=fields)


def worker_of(server: Process) -> int:
    (worker,) = (
        child
        for child in children(server.pid)
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    return worker


@contextmanager
def stopped_worker(server: Process) -> Iterator[None]:
    """The server's worker does nothing meanwhile, however fast the machine is."""
    worker = worker_of(server)
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def wait_until_under_way(server: Process, count: int) -> None:
    """Wait until so many requests are at work or in the queue."""
    deadline = time.monotonic() + PATIENCE
    while json.loads(ask(server, method="GET", path="/health").data)["under_way"] < count:
        assert time.monotonic() < deadline


FORM = {"Content-Type": "multipart/form-data; boundary=XX"}
END = b"--XX--\r\n"


def part_of(name: str | bytes, content: bytes, filename: bytes | None = b"a") -> bytes:
    """One part of a multipart body, byte for byte; without a file name it is text."""
    name = name if isinstance(name, bytes) else name.encode()
    file = b"" if filename is None else b'; filename="%s"' % filename
    head = b'--XX\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (name, file)
    return head + content + b"\r\n"


def assert_refused(answer: urllib3.HTTPResponse, status: int, *words: str) -> None:
    """One sentence of JSON, without a traceback."""
    assert answer.status == status, answer.data
    assert answer.headers["content-type"] == "application/json"
    sentence = json.loads(answer.data)["error"]
    for word in words:
        assert word in sentence
    assert sentence.endswith(".") and "\n" not in sentence and "Traceback" not in sentence


def assert_close(image: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding: the net's last bits depend on its threads."""
    assert image.shape == expected.shape and image.dtype == expected.dtype
    difference = np.abs(image.astype(int) - expected)
    assert np.quantile(difference, 0.999) <= 1 and difference.mean() < 0.05


def assert_same_cutout(image: np.ndarray, expected: np.ndarray) -> None:
    """As `assert_close`, colors only where they are seen."""
    assert_close(image[:, :, 3], expected[:, :, 3])
    seen = expected[:, :, 3] > 0
    assert_close(image[seen], expected[seen])


# --- answers ------------------------------------------------------------------


def test_cutout_is_the_sessions(server, png, matte):
    answer = ask(server, png)
    assert answer.status == 200
    assert answer.headers["content-type"] == "image/png"
    assert_same_cutout(pixels(answer.data), cut_out(matte.foreground, matte.alpha))
    multipart = ask(server, parts={"photo": png})
    assert multipart.data == answer.data


def test_alpha_and_formats(server, png, matte):
    alpha = from_float(matte.alpha, np.uint8)
    assert_close(pixels(ask(server, png, "output=alpha").data), alpha)
    tiff = ask(server, png, "output=alpha&format=tiff")
    assert tiff.headers["content-type"] == "image/tiff"
    assert np.abs(pixels(tiff.data) / 257.0 - alpha).mean() < 0.05
    webp = ask(server, png, "format=webp")
    assert webp.headers["content-type"] == "image/webp"
    assert_close(pixels(webp.data)[:, :, 3], alpha)
    jpeg = ask(server, png, "background=808080&format=jpeg")
    assert jpeg.headers["content-type"] == "image/jpeg"
    gray = pixels(jpeg.data)[matte.alpha == 0].astype(int)
    assert np.abs(gray - 128).mean() < 1


def test_photo_comes_back_upright(server, portrait, png):
    assert np.array_equal(pixels(ask(server, png, "output=photo").data), portrait)


def test_backgrounds_and_effects_need_no_second_matte(server, portrait, png, matte):
    """With the cut-out sent along, its alpha and colors are taken as they are."""
    red = np.zeros((400, 300, 4), np.uint8)
    red[:200] = 0, 0, 255, 255  # no matte of the portrait: upper half, pure red
    parts = {"photo": png, "cutout": encode_image(red, ".png")}
    picture = pixels(ask(server, query="background=00ff00", parts=parts).data)
    assert (picture[:200] == (0, 0, 255)).all() and (picture[200:] == (0, 255, 0)).all()

    cutout = ask(server, png).data
    parts = {"photo": png, "cutout": cutout}
    for name in ("depth-of-field", "sketch-person"):
        expected = EFFECTS[name].apply(portrait, matte.alpha, matte.foreground)
        query = f"effect={name}"
        for answer in (ask(server, png, query), ask(server, query=query, parts=parts)):
            difference = np.abs(pixels(answer.data).astype(int) - expected)
            assert difference.mean() < 1  # alpha of the cut-out has 8 bits


def test_own_background(server, portrait, png, matte):
    scene = np.zeros((50, 90, 3), np.uint8)
    scene[:, 45:] = 200, 120, 40
    parts = {"photo": png, "background": encode_image(scene.repeat(3, 0).repeat(3, 1), ".png")}
    plain = pixels(ask(server, query="background=image", parts=parts).data)
    expected = replace_background(
        portrait, matte.alpha, matte.foreground, scene.repeat(3, 0).repeat(3, 1)
    )
    assert_close(plain, expected)
    matched = pixels(ask(server, query="background=image&match=yes", parts=parts).data)
    clear = matte.alpha == 0
    assert_close(matched[clear], plain[clear])
    assert np.abs(matched.astype(int) - plain)[matte.alpha == 1].mean() > 2


def test_trimap_replaces_the_model(server, session, portrait, png):
    trimap = np.zeros((400, 300), np.uint8)
    trimap[100:300, 50:250] = 128
    trimap[130:270, 80:220] = 255
    parts = {"photo": png, "trimap": encode_image(trimap, ".png")}
    answer = ask(server, query="output=alpha", parts=parts)
    expected = from_float(session.matte(portrait, trimap=trimap).alpha, np.uint8)
    assert_close(pixels(answer.data), expected)
    assert "x-assumed" not in answer.headers


def test_mask_of_zeros_and_ones_is_read_and_the_answer_says_so(server, png, matte):
    mask = np.uint8(matte.alpha > 0.5)
    answers = [
        ask(server, query="output=alpha", parts={"photo": png, "mask": encode_image(each, ".png")})
        for each in (mask, 255 * mask)
    ]
    assert answers[0].status == 200 and answers[0].data == answers[1].data
    assert answers[0].headers["x-assumed"] == "The mask holds 0 and 1: 1 is taken for white."


def test_a_matte_is_kept_as_it_is(server, portrait, png):
    alpha = np.random.default_rng(5).integers(0, 256, portrait.shape[:2], dtype=np.uint8)
    parts = {"photo": png, "alpha": encode_image(alpha, ".png")}
    answer = ask(server, query="output=alpha", parts=parts)
    np.testing.assert_array_equal(pixels(answer.data), alpha)
    cutout = pixels(ask(server, parts=parts).data)
    np.testing.assert_array_equal(cutout[:, :, 3], alpha)
    smaller = {"photo": png, "alpha": encode_image(alpha[1:], ".png")}
    assert_refused(ask(server, parts=smaller), 400, "The alpha is 300x399", "300x400")
    both = parts | {"mask": parts["alpha"]}
    assert_refused(ask(server, parts=both), 400, "one of trimap, mask, alpha and cutout")


def test_a_segmenter_of_the_users_takes_the_models_place(tmp_path, portrait, png):
    path = tmp_path / "person.caffemodel"
    path.write_bytes((MADE_WEIGHTS / "selfie.caffemodel").read_bytes())
    path.with_suffix(".prototxt").write_text(NETS["selfie"].trimap_deploy.read_text())
    path.with_suffix(".json").write_text('{"output": "logit", "activation": "sigmoid"}')
    expected = MattingSession(Segmenter(path)).matte(portrait).alpha
    with running_server("--workers", "1", "--segmenter", str(path)) as process:
        answer = ask(process, query="output=alpha", parts={"photo": png})
    assert_close(pixels(answer.data), from_float(expected, np.uint8))


@pytest.mark.parametrize(
    "options, words",
    [
        (["--model", "selfie", "--segmenter", "s.onnx"], "--model and --segmenter exclude"),
        (["--model", "nobody"], "invalid choice: 'nobody'"),
    ],
)
def test_models_that_cannot_be_served_are_refused_at_once(options, words, capsys):
    with pytest.raises(SystemExit, match="2"):
        serve.main(options)
    assert words in capsys.readouterr().err


def test_options_as_form_fields(server, png, matte):
    """What `curl -F output=alpha` sends, beside a photo as a file."""
    photo = {"photo": ("a.png", png)}
    for options in ({"output": "alpha"}, {"background": "ff0000", "format": "webp"}):
        answer = send(server, {**photo, **options})
        query = "&".join(f"{name}={value}" for name, value in options.items())
        assert answer.status == 200 and answer.data == ask(server, png, query).data
    # A color and an image have one name, the first as text and the second as a file.
    scene = encode_image(np.full((50, 90, 3), (200, 120, 40), np.uint8), ".png")
    parts = {"photo": png, "background": scene}
    fields = [*((name, (name, part)) for name, part in parts.items()), ("background", "image")]
    answer = send(server, fields)
    assert answer.data == ask(server, query="background=image", parts=parts).data


@pytest.mark.parametrize(
    "media_type",
    [
        "Multipart/Form-Data; boundary=XX",
        'MULTIPART/FORM-DATA;Boundary="XX"',
        "multipart/form-data; charset=utf-8; boundary=XX",
    ],
)
def test_media_types_are_compared_without_case(server, png, media_type):
    body = part_of("photo", png) + END
    answer = ask(server, body, "output=photo", headers={"Content-Type": media_type})
    assert answer.data == ask(server, png, "output=photo").data


def test_files_named_in_other_encodings_and_fields_left_empty(server, portrait, png):
    body = part_of("photo", png, filename=b"\xe9\xff.png")
    body += part_of("mask", b"", filename=b"")  # a browser's field without a file
    answer = ask(server, body + END, "output=photo", headers=FORM)
    assert np.array_equal(pixels(answer.data), portrait)


def test_options_tell_what_there_is(server):
    told = json.loads(ask(server, method="GET", path="/options").data)
    assert [effect["name"] for effect in told["effects"]] == list(EFFECTS)
    assert told["limits"] == {"megabytes": 64, "megapixels": 24}


# --- refusals -----------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + struct.pack(">I", 13)
        + header
        + struct.pack(">I", zlib.crc32(header))
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("size=3", ("size", "output")),
        ("output=png", ("png", "cutout")),
        ("effect=magic", ("magic", "depth-of-field")),
        ("background=mauve", ("color",)),
        ("background=image", ("part",)),
        ("effect=studio&output=alpha", ("one of",)),
        ("output=alpha&output=alpha", ("twice",)),
        ("format=jpeg", ("JPEG", "png")),
        ("format=bmp", ("bmp", "png")),
        ("match=yes", ("match",)),
        ("match=maybe", ("match is yes or no, not 'maybe'",)),
    ],
)
def test_wrong_questions(server, png, query, words):
    assert_refused(ask(server, png, query), 400, *words)


def test_wrong_bodies(server, png):
    assert_refused(ask(server, b""), 400, "no photo")
    assert_refused(ask(server, parts={"mask": png}), 400, "no photo")
    assert_refused(ask(server, parts={"photo": png, "selfie": png}), 400, "selfie")
    assert_refused(ask(server, parts={"photo": png, "trimap": png, "mask": png}), 400, "one of")
    assert_refused(ask(server, b"no parts at all", headers=FORM), 400, "multipart")
    headers = {"Content-Type": "multipart/form-data"}
    assert_refused(ask(server, END, headers=headers), 400, "boundary")
    headers = {"Content-Type": "multipart/mixed; boundary=XX"}
    assert_refused(ask(server, END, headers=headers), 400, "multipart/mixed", "form-data")


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([("photo", b"1"), ("photo", b"2")], ("'photo'", "twice")),
        ([("photo", b"")], ("'photo'", "empty")),
        ([("photo", b"1"), ("mask", b"")], ("'mask'", "empty")),
        ([("photo", b"1"), ("selfie", b"2")], ("'selfie'", "mask")),
        ([("photo", b"1"), (b"\xff\xfe", b"2")], ("no part", "mask")),
        ([("photo", b"1"), ("output", b"alpha")], ("'output'", "file", "text")),
    ],
)
def test_files_that_are_refused_by_name(server, parts, words):
    body = b"".join(part_of(name, content) for name, content in parts) + END
    assert_refused(ask(server, body, headers=FORM), 400, *words)


@pytest.mark.parametrize(
    ("fields", "query", "words"),
    [
        ([("photo", b"1" * 2_000_000)], "", ("'photo'", "text", "file")),
        ([("size", b"3")], "", ("'size'", "output")),
        ([("output", b"png")], "", ("'png'", "cutout")),
        ([("output", b"alpha")], "output=cutout", ("'output'", "twice")),
        ([("output", b"alpha"), ("output", b"alpha")], "", ("'output'", "twice")),
        ([("output", b"alpha")], "effect=studio", ("one of",)),
        ([("background", b"image")], "", ("part 'background'",)),
        ([(b"\xff\xfe", b"2")], "", ("no option", "output")),
    ],
)
def test_fields_that_are_refused_by_name(server, png, fields, query, words):
    body = b"".join(part_of(name, content, filename=None) for name, content in fields)
    if "photo" not in dict(fields):
        body += part_of("photo", png)
    assert_refused(ask(server, body + END, query, headers=FORM), 400, *words)


def test_character_set_that_decodes_nothing(server, png):
    headers = {"Content-Type": "multipart/form-data; boundary=XX; charset=undefined"}
    assert_refused(ask(server, part_of("photo", png) + END, headers=headers), 400, "UTF-8")


def test_masks_and_trimaps_that_do_not_serve(server, png):
    """As on the command line, by the same sentences: a mask was given, so nobody is sought."""
    person = np.zeros((400, 300), np.uint8)
    cv2.ellipse(person, (150, 220), (90, 150), 0, 0, 360, 255, -1)
    noise = np.random.default_rng(0).integers(0, 256, person.shape, np.uint8)
    for part, image, words in (
        ("mask", np.rot90(person), ("The mask is 400x300", "the photo is 300x400", "turn")),
        ("trimap", person[:300], ("The trimap is 300x300", "the photo is 300x400", "shape")),
        ("mask", person // 2, ("The mask", "no foreground", "0 and 127")),
        ("mask", 0 * person, ("The mask", "no foreground", "0 only")),
        ("mask", 0 * person + 255, ("The mask", "no background", "255 only")),
        ("mask", noise, ("The mask", "noise")),
        ("trimap", np.maximum(person, 128), ("The trimap", "no background", "128 and 255")),
        ("trimap", person // 2, ("The trimap", "no foreground", "0 and 127")),
    ):
        parts = {"photo": png, part: encode_image(np.ascontiguousarray(image), ".png")}
        assert_refused(ask(server, query="output=alpha", parts=parts), 400, *words)
    colors = np.dstack([noise, noise[::-1], noise])
    parts = {"photo": png, "mask": encode_image(colors, ".png")}
    assert_refused(ask(server, parts=parts), 415, "The mask has colors")


def test_what_is_no_image(server, png):
    for content in (b"GIF89a", b"\xff\xd8\xff\xe0 half a photo", png[: len(png) // 2], b"\0" * 99):
        assert_refused(ask(server, content), 415, "The photo")
    assert_refused(ask(server, parts={"photo": png, "mask": b"nothing"}), 415, "The mask")


def test_nobody_in_the_photo(server):
    sky = np.full((200, 300, 3), (235, 190, 120), np.uint8)
    assert_refused(ask(server, encode_image(sky, ".png")), 422, "nobody")


def test_cutout_of_another_photo(server, png):
    small = encode_image(np.zeros((100, 100, 4), np.uint8), ".png")
    parts = {"photo": png, "cutout": small}
    assert_refused(ask(server, query="background=ffffff", parts=parts), 400, "another")
    opaque = {"photo": png, "cutout": png}
    assert_refused(ask(server, parts=opaque), 400, "cutout", "transparency")


def test_a_background_that_is_not_asked_for(server, png):
    parts = {"photo": png, "background": png}
    assert_refused(ask(server, parts=parts), 400, "background=image")


def test_other_addresses(server, png):
    assert_refused(ask(server, method="GET", path="/etc/passwd"), 404)
    assert_refused(ask(server, method="GET"), 405, "GET")
    for host in ("evil.example", "evil.example:80", "evil@localhost", "localhost/x", "[]", ""):
        answer = ask(server, method="GET", path="/health", headers={"Host": host})
        assert_refused(answer, 400, f"name {host!r}", "localhost")
    for host in ("localhost", "LOCALHOST:99", "[::1]:80"):
        assert ask(server, method="GET", path="/health", headers={"Host": host}).status == 200
    assert_refused(ask(server, png, headers={"Sec-Fetch-Site": "cross-site"}), 403)


def test_too_much(strict, server, png):
    assert_refused(ask(server, png_header(60_000, 60_000)), 413, "megapixels")
    assert_refused(ask(strict, png_header(1000, 501)), 413, "megapixels")
    small = {"photo": encode_image(np.zeros((64, 64, 3), np.uint8), ".png")}
    for part in ("mask", "trimap"):
        answer = ask(strict, parts={**small, part: png_header(1000, 501)})
        assert_refused(answer, 413, f"The {part}", "megapixels")
    assert_refused(ask(strict, bytes(1_000_001)), 413, "1 MB")
    # The same without a Content-Length to go by.
    pieces = (bytes(100_000) for _ in range(30))
    connection = http.client.HTTPConnection(strict.host, strict.port, timeout=PATIENCE)
    connection.request("POST", "/matte", pieces, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413 and "1 MB" in json.loads(answer.read())["error"]
    connection.close()


def test_slow_sender_is_not_waited_for(strict):
    with socket.create_connection((strict.host, strict.port), timeout=PATIENCE) as connection:
        head = b"POST /matte HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n"
        connection.sendall(head + b"x")
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_who_waits_too_long_in_the_queue_is_turned_away(strict, png):
    with ThreadPoolExecutor(1) as clients, stopped_worker(strict):
        first = clients.submit(ask, strict, png)
        wait_until_under_way(strict, 1)
        answer = ask(strict, png)  # waits for 0.05 s
    assert_refused(answer, 503, "again")
    assert int(answer.headers["retry-after"]) >= 1
    assert first.result().status == 200
    assert ask(strict, png).status == 200


def test_who_finds_the_queue_full_is_turned_away_at_once(server, png):
    most = json.loads(ask(server, method="GET", path="/health").data)["most"]
    with ThreadPoolExecutor(most) as clients, stopped_worker(server):
        admitted = [clients.submit(ask, server, png, "output=photo") for _ in range(most)]
        wait_until_under_way(server, most)
        answer = ask(server, png, "output=photo")
    assert_refused(answer, 429, "again")
    assert int(answer.headers["retry-after"]) >= 1
    assert most > 1 and {each.result().status for each in admitted} == {200}
    assert ask(server, png, "output=photo").status == 200


def test_job_that_takes_too_long(png):
    with running_server("--workers", "1", "--job-seconds", "0.01") as server:
        for _ in range(2):  # the second one meets the worker's replacement
            assert_refused(ask(server, png), 504, "0.01")


# --- workers ------------------------------------------------------------------


def test_dead_worker_is_replaced(server, png):
    expected = ask(server, png).data
    first = worker_of(server)
    os.kill(first, signal.SIGKILL)
    while list(Path(f"/proc/{first}/task").glob("*/fd/*")):  # its threads end one by one
        time.sleep(0.01)
    assert ask(server, png).data == expected
    second = worker_of(server)
    assert second != first
    # In the middle of a photo: that photo fails, the next one does not.
    large = encode_image(cv2.resize(pixels(png), (1800, 2400)), ".jpg")
    with ThreadPoolExecutor(1) as clients:
        doomed = clients.submit(ask, server, large)
        wait_until_under_way(server, 1)
        time.sleep(0.3)
        os.kill(second, signal.SIGKILL)
        assert_refused(doomed.result(), 500, "ended")
    assert ask(server, png).data == expected


def test_answers_are_neither_lost_nor_mixed_up():
    """What `make serve-bench` does with 500 requests."""
    sent = photos(sorted(PORTRAITS.iterdir()))[:8]
    with running_server("--workers", "2", "--queue", "3") as server:
        expected = [ask(server, photo).data for photo in sent]
        tally, memories = load(server, sent, expected, requests=40, clients=8)
    assert len(set(expected)) == len(sent)
    assert not tally.lost and tally.mixed_up == 0 and len(tally.seconds) == 40
    assert memories[-1] < 1.3 * memories[len(memories) // 2]


def test_nothing_is_written(tmp_path, png):
    """Neither in the working folder nor under a name from the client."""
    environment = {
        **os.environ,
        "TMPDIR": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-m", "tools.serve", "--port", "0", "--workers", "1"]
    server = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        port = int(re.search(r":(\d+)", server.stdout.readline().split("//")[1])[1])
        before = set(tmp_path.rglob("*"))
        name = f"{tmp_path}/evil.png"
        # Past any in-memory buffer of the parser.
        noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
        fields = {"photo": (name, png), "background": ("../evil.png", encode_image(noise, ".png"))}
        with urllib3.PoolManager(retries=False, timeout=PATIENCE) as pool:
            answer = pool.request(
                "POST",
                f"http://127.0.0.1:{port}/matte?background=image",
                fields=fields,
            )
        assert answer.status == 200
        assert set(tmp_path.rglob("*")) == before
        # And it ends only when the work under way is done.
        with ThreadPoolExecutor(1) as clients:
            last = clients.submit(ask, Process("127.0.0.1", port, server.pid), png)
            health = Process("127.0.0.1", port, server.pid)
            while not json.loads(ask(health, method="GET", path="/health").data)["under_way"]:
                assert not last.done()
            server.terminate()
            assert last.result().status == 200
        server.wait(PATIENCE)
    finally:
        server.kill()
        server.stdout.close()


def test_address_that_is_taken(server):
    command = [sys.executable, "-m", "tools.serve", "--port", str(server.port)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 1
    assert process.stderr == (
        f"serve.py: The server cannot listen on 127.0.0.1, port {server.port} "
        "(Address already in use); choose others with --host and --port.\n"
    )


# --- the page -----------------------------------------------------------------


def test_page_may_load_nothing_else(server):
    page = ask(server, method="GET", path="/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'") and "unsafe" not in policy
    assert page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(rb"(src|href)=.?https?:", page.data)


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,900",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


class Page:
    """The page in the browser, as a user meets it."""

    def __init__(self, browser: webdriver.Chrome, server: Process, downloads: Path) -> None:
        self.browser, self.downloads = browser, downloads
        browser.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)}
        )
        browser.get(f"http://{server.host}:{server.port}/")
        self.wait(lambda: self.element("limits").get_attribute("textContent"))

    def element(self, id_: str):
        return self.browser.find_element(By.ID, id_)

    def wait(self, condition) -> None:
        WebDriverWait(self.browser, PATIENCE).until(lambda _: condition())

    def drop(self, path: Path) -> None:
        """Drop a file on the page as a file manager does."""
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.browser.execute_cdp_cmd(
                "Input.dispatchDragEvent", {"type": kind, "x": 600, "y": 400, "data": data}
            )

    def paste(self, png: bytes) -> None:
        """Paste an image from the clipboard."""
        script = """
            const bytes = Uint8Array.from(atob(arguments[0]), letter => letter.charCodeAt(0));
            const data = new DataTransfer();
            data.items.add(new File([bytes], "image.png", {type: "image/png"}));
            document.dispatchEvent(new ClipboardEvent("paste", {clipboardData: data}));
        """
        self.browser.execute_script(script, base64.b64encode(png).decode())

    def idle(self) -> bool:
        return not self.element("busy").is_displayed() and self.element("download").is_enabled()

    def choose(self, label: str) -> None:
        """Click a choice and wait for it to be shown."""
        choice = self.browser.find_element(
            By.XPATH, f"//label[@title='{label}' or normalize-space()='{label}']/input"
        )
        self.browser.execute_script("arguments[0].scrollIntoView()", choice)
        ActionChains(self.browser).click(choice).perform()
        self.wait(lambda: self.element("tag-after").text == label)
        self.wait(self.idle)

    def shown(self) -> np.ndarray:
        """(H, W, 3) BGR pixels of the photo's frame on the screen."""
        return pixels(self.element("frame").screenshot_as_png)[:, :, :3]

    def download(self) -> np.ndarray:
        """Click the button; the file's pixels."""
        for path in self.downloads.iterdir():
            path.unlink()
        self.element("download").click()
        self.wait(lambda: any(path.suffix == ".png" for path in self.downloads.iterdir()))
        (path,) = self.downloads.iterdir()
        return pixels(path.read_bytes())


@pytest.fixture
def page(browser, server, tmp_path) -> Page:
    return Page(browser, server, tmp_path)


@pytest.fixture
def file(tmp_path_factory, png) -> Path:
    path = tmp_path_factory.mktemp("photos") / "ann.png"
    path.write_bytes(png)
    return path


def split_on_screen(shown: np.ndarray, photo: np.ndarray, ground: tuple[int, int, int]) -> float:
    """Where, from 0 to 1, the photo's left top ends and the new background begins."""
    row = shown[6].astype(int)  # above the person, above the tags
    return float(np.argmax(np.abs(row - ground).max(axis=1) < 3)) / len(row)


def assert_shown(page: Page, expected: np.ndarray) -> None:
    """The screen holds an image, apart from the slider's handle and the tags."""
    height, width = expected.shape[:2]
    shown = cv2.resize(page.shown(), (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(shown[60:, 60:].astype(int) - expected[60:, 60:]).mean() < 2


def test_drop_slide_download(page, file, portrait, matte):
    page.drop(file)
    page.wait(page.idle)
    assert_same_cutout(page.download(), cut_out(matte.foreground, matte.alpha))
    assert (page.downloads / "ann_cutout.png").is_file()

    page.choose("Blue")
    blue = (0xE6, 0xCA, 0x8E)
    assert abs(split_on_screen(page.shown(), portrait, blue) - 0.5) < 0.02
    slider = page.element("slider")
    width = slider.size["width"]
    actions = ActionChains(page.browser)
    actions.move_to_element(slider).click_and_hold().move_by_offset(-width // 4, 5).release()
    actions.perform()
    assert abs(split_on_screen(page.shown(), portrait, blue) - 0.25) < 0.02
    slider.send_keys(Keys.HOME)
    assert split_on_screen(page.shown(), portrait, blue) < 0.01
    # All "after": the person before blue.
    expected = composite(matte.foreground, matte.alpha, np.uint8([[blue]]))
    assert_shown(page, expected)
    assert_close(page.download(), expected)
    assert page.browser.get_log("browser") == []


def test_effects_and_matte(page, file, portrait, matte):
    page.drop(file)
    page.wait(page.idle)
    effect = EFFECTS["sketch-person"]
    page.choose(effect.title)
    expected = effect.apply(portrait, matte.alpha, matte.foreground)
    assert np.abs(page.download().astype(int) - expected).mean() < 1
    page.choose("Alpha matte")
    assert_close(page.download(), from_float(matte.alpha, np.uint8))
    assert page.browser.get_log("browser") == []


def test_own_background_in_the_page(page, file, portrait, matte, tmp_path_factory):
    scene = np.zeros((200, 200, 3), np.uint8)
    scene[:, :, 1] = np.arange(200)[:, None]
    path = tmp_path_factory.mktemp("scene") / "scene.png"
    path.write_bytes(encode_image(scene, ".png"))
    page.drop(file)
    page.wait(page.idle)
    page.element("own-image").send_keys(str(path))
    page.wait(lambda: page.element("tag-after").text == "Own image")
    page.wait(page.idle)
    expected = replace_background(portrait, matte.alpha, matte.foreground, scene)
    page.element("slider").send_keys(Keys.HOME)
    assert_shown(page, expected)
    assert_close(page.download(), expected)
    page.element("match").click()
    page.wait(page.idle)
    matched = replace_background(portrait, matte.alpha, matte.foreground, scene, match=True)
    assert np.abs(page.download().astype(int) - matched).mean() < 1


def test_page_says_what_is_wrong(page, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wrong")
    text = folder / "notes.txt"
    text.write_text("no image")
    page.drop(text)
    page.wait(lambda: "no image" in page.element("trouble").text)
    sky = folder / "sky.png"
    sky.write_bytes(encode_image(np.full((200, 300, 3), (235, 190, 120), np.uint8), ".png"))
    page.drop(sky)
    page.wait(lambda: "nobody" in page.element("message").text)
    assert not page.element("download").is_displayed()
    # What the browser cannot read but the server can, the page shows all the same.
    tiff = folder / "portrait.tif"
    photo = read_photo(sorted(PORTRAITS.iterdir())[1])
    tiff.write_bytes(cv2.imencode(".tiff", cv2.resize(photo, (240, 320)))[1].tobytes())
    page.drop(tiff)
    page.wait(page.idle)
    assert "240 × 320" in page.element("message").text


def test_narrow_screen(page, png):
    page.browser.set_window_size(500, 900)
    try:
        page.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True},
        )
        page.paste(png)
        page.wait(page.idle)
        widths = page.browser.execute_script(
            "return [document.documentElement.scrollWidth, innerWidth]"
        )
        assert widths == [360, 360]
        stage, panel = page.element("stage").rect, page.element("panel").rect
        assert panel["y"] >= stage["y"] + stage["height"]
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.browser.set_window_size(1280, 900)


def test_a_matte_of_the_users_takes_the_models_place_on_the_page(page, file, portrait):
    page.drop(file)
    page.wait(page.idle)
    alpha = np.zeros(portrait.shape[:2], np.uint8)
    alpha[:, : alpha.shape[1] // 2] = 255
    (file.parent / "half.png").write_bytes(encode_image(alpha, ".png"))
    page.element("own-matte").send_keys(str(file.parent / "half.png"))
    page.wait(lambda: "half.png" in page.element("message").text)
    page.wait(page.idle)
    np.testing.assert_array_equal(page.download()[:, :, 3], alpha)
    # One of another size is refused, and what is there stays.
    (file.parent / "small.png").write_bytes(encode_image(alpha[9:], ".png"))
    page.element("own-matte").send_keys(str(file.parent / "small.png"))
    page.wait(lambda: "300x391" in page.element("message").text)
    page.wait(page.idle)
    np.testing.assert_array_equal(page.download()[:, :, 3], alpha)
