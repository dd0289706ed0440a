"""Load on the local server: are answers lost or mixed up, does memory grow?

    .venv/bin/python -m tools.benchmarks.server [--requests 500] [--clients 8]

Starts tools/serve.py on a free port and sends it small photos, each of its own
size, from many clients at once.  What one photo gives when the server has
nothing else to do is what it has to give, byte for byte, under load.  A client
that is turned away (429) waits for the time in the answer and tries again.
"""

from __future__ import annotations

import argparse
import http.client
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from data_prep.common.errors import InputError, run_program
from data_prep.common.images import encode_image, read_photo
from data_prep.common.options import count
from tools.matting.models import ROOT

PORTRAITS = ROOT / "data/sample/images"
SMALLEST_HEIGHT = 240  # pixels; photo k is 4 k higher
PHOTOS = 16
SECONDS = 120  # for one answer
WARM_UP = 0.2  # share of the requests after which memory has to be steady


@dataclass
class Process:
    """A running server."""

    host: str
    port: int
    pid: int


@contextmanager
def running_server(*options: str) -> Iterator[Process]:
    """tools/serve.py on a free loopback port; ended (SIGTERM) with the block.

    Raises
    ------
    InputError
        If it does not start.
    """
    command = [sys.executable, "-m", "tools.serve", "--port", "0", *options]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://([\d.]+):(\d+)", server.stdout.readline())
        if not address:
            raise InputError("The server did not start; its message stands above.")
        yield Process(address[1], int(address[2]), server.pid)
    finally:
        server.terminate()
        server.wait(SECONDS)
        server.stdout.close()


def children(pid: int) -> list[int]:
    """Processes that a process has started, from any of its threads."""
    return [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
    ]


def memory(pid: int) -> int:
    """Resident bytes of a process and its children."""
    statuses = [Path(f"/proc/{each}/status").read_text() for each in (pid, *children(pid))]
    return sum(1024 * int(re.search(r"VmRSS:\s+(\d+)", status)[1]) for status in statuses)


def photos(portraits: Sequence[Path]) -> list[bytes]:
    """`PHOTOS` small PNG photos, no two of the same size."""
    made = []
    for number in range(PHOTOS):
        portrait = read_photo(portraits[number % len(portraits)])
        height = SMALLEST_HEIGHT + 4 * number
        width = round(height * portrait.shape[1] / portrait.shape[0])
        small = cv2.resize(portrait, (width, height), interpolation=cv2.INTER_AREA)
        made.append(encode_image(small, ".png"))
    return made


def pixels(content: bytes) -> np.ndarray:
    """Decode a PNG as it is."""
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def belongs(cutout: bytes, photo: bytes) -> bool:
    """Whether a cut-out shows the person of a photo: its size and opaque pixels."""
    cut, whole = pixels(cutout), pixels(photo)
    if cut.shape != (*whole.shape[:2], 4):
        return False
    opaque = cut[:, :, 3] == 255
    return opaque.any() and np.abs(cut[opaque, :3].astype(int) - whole[opaque]).mean() < 4


@dataclass
class Tally:
    """What happened to the requests of the clients."""

    seconds: list[float] = field(default_factory=list)  # per answer, without the waits after 429
    turned_away: int = 0
    mixed_up: int = 0
    lost: list[str] = field(default_factory=list)  # why


class Client:
    """One keep-alive connection."""

    def __init__(self, server: Process) -> None:
        self._connection = http.client.HTTPConnection(server.host, server.port, timeout=SECONDS)

    def matte(self, photo: bytes) -> tuple[int, float, bytes]:
        """Status, Retry-After in seconds, body."""
        self._connection.request("POST", "/matte", photo, {"Content-Type": "image/png"})
        answer = self._connection.getresponse()
        return answer.status, float(answer.headers.get("Retry-After", 0)), answer.read()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def ask(client: Client, photo: bytes, expected: bytes, tally: Tally) -> None:
    """One request, repeated while the server turns it away; counts what came of it."""
    while True:
        start = time.perf_counter()
        try:
            status, pause, body = client.matte(photo)
        except (OSError, http.client.HTTPException) as error:
            tally.lost.append(repr(error))
            client.close()
            return
        if status != 429:
            break
        tally.turned_away += 1
        time.sleep(pause)
    if status != 200:
        tally.lost.append(f"{status} {body[:200].decode(errors='replace')}")
        return
    tally.seconds.append(time.perf_counter() - start)
    tally.mixed_up += body != expected


def load(
    server: Process, sent: Sequence[bytes], expected: Sequence[bytes], requests: int, clients: int
) -> tuple[Tally, list[int]]:
    """Send requests from several clients at once.

    Returns
    -------
    tally : Tally
    memories : list of int
        Bytes of the server's processes after every answer.
    """
    tally, memories = Tally(), []
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(requests):
        numbers.put(number % len(sent))
    progress = tqdm(total=requests, unit="request", disable=None)
    lock = threading.Lock()

    def client() -> None:
        connection, own = Client(server), Tally()
        while True:
            try:
                number = numbers.get_nowait()
            except queue.Empty:
                break
            ask(connection, sent[number], expected[number], own)
            with lock:
                memories.append(memory(server.pid))
                progress.update()
        connection.close()
        with lock:
            tally.seconds += own.seconds
            tally.lost += own.lost
            tally.turned_away += own.turned_away
            tally.mixed_up += own.mixed_up

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.close()
    return tally, memories


def main(argv: list[str] | None = None) -> int:
    """Run the load, print the figures; 1 where an answer is lost or mixed up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=count, default=500)
    parser.add_argument("--clients", type=count, default=8)
    parser.add_argument("server", nargs="*", help="options of tools/serve.py, after --")
    options = parser.parse_args(argv)

    sent = photos(sorted(PORTRAITS.iterdir()))
    with running_server(*options.server) as server:
        alone = Client(server)
        expected = []
        for number, photo in enumerate(sent):
            status, _, body = alone.matte(photo)
            if status != 200 or not belongs(body, photo):
                raise InputError(f"Photo {number} alone gave {status}: {body[:200]!r}.")
            expected.append(body)
        alone.close()
        start = time.perf_counter()
        tally, memories = load(server, sent, expected, options.requests, options.clients)
        seconds = time.perf_counter() - start

    warm = memories[int(WARM_UP * len(memories)) :]
    middle, worst = np.percentile(tally.seconds or [np.nan], (50, 99))
    print(
        f"{options.requests} requests from {options.clients} clients: "
        f"{len(tally.seconds)} answered, {len(tally.lost)} lost, {tally.mixed_up} mixed up, "
        f"{tally.turned_away} turned away and sent again\n"
        f"{seconds:.0f} s, {len(tally.seconds) / seconds:.1f} a second; "
        f"answer after {middle:.2f} s (median), {worst:.2f} s (99 %)\n"
        f"memory of all processes: {warm[0] / 2**20:.0f} MiB after {WARM_UP:.0%} of the requests, "
        f"{warm[-1] / 2**20:.0f} MiB at the end, {max(warm) / 2**20:.0f} MiB at most"
    )
    for reason in tally.lost[:5]:
        print("lost:", reason)
    return int(bool(tally.lost or tally.mixed_up))


if __name__ == "__main__":
    raise SystemExit(run_program(main))
