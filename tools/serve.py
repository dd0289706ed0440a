#!/usr/bin/env python3
"""A local web page that cuts people out of photos, and the same over HTTP.

    tools/serve.py [--port 8000]

Then open the address it prints.  Programs send the photo to /matte:

    curl --data-binary @photo.jpg localhost:8000/matte -o cutout.png
    curl -F photo=@photo.jpg -F background=ff8800 localhost:8000/matte -o picture.png

Options and parts: tools/server/requests.py; answers and statuses:
tools/server/app.py.
"""

from __future__ import annotations

if not __package__:
    import use_venv  # noqa: F401

import argparse
import os
import socket

from caffe_layers import __version__
from data_prep.common.errors import InputError, run_program
from data_prep.common.options import count, integer_from, named_path, positive
from data_prep.common.parallel import THREAD_VARIABLES, available_workers
from tools.matting.device import add_gpu_option, choose_gpu
from tools.matting.models import DEFAULT_MODEL, MODELS
from tools.matting.segmenter_settings import SegmenterSettings

# The names a browser on this machine may use for it.
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises
    ------
    InputError
        If the address is taken, forbidden or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"The server cannot listen on {host}, port {port} ({_reason(error)}); "
            "choose others with --host and --port."
        ) from error


def _reason(error: OSError | OverflowError) -> str:
    """The system's own words, without the address that `socket` adds to them."""
    words = getattr(error, "strerror", None) or str(error)
    return words.partition(" (while ")[0].rstrip(".")


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    from tools.server.app import Limits

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--version", action="version", version=__version__)
    add("--host", default="127.0.0.1", help="0.0.0.0 lets the whole network in")
    add("--port", type=integer_from(0), default=8000)
    add("--model", choices=MODELS, help=f"net that finds the person ({DEFAULT_MODEL})")
    add(
        "--segmenter",
        type=named_path,
        metavar="FILE.onnx|FILE.caffemodel",
        help="in place of the model: any segmentation net, whose masks are refined",
    )
    add(
        "--segmenter-settings",
        metavar="FILE.json|JSON",
        help="how it takes pictures and gives masks, beyond the JSON file beside it",
    )
    workers = max(1, available_workers() // 2)
    add("--workers", type=count, default=workers, help="photos at once (%(default)s)")
    add_gpu_option(parser)
    limits = parser.add_argument_group("limits")
    for name, kind, meaning in (
        ("megabytes", positive, "of a request"),
        ("megapixels", positive, "of an image"),
        ("queue", count, "requests that wait for a worker"),
        ("upload-seconds", positive, "for sending a request"),
        ("queue-seconds", positive, "for waiting"),
        ("job-seconds", positive, "for one photo"),
    ):
        default = getattr(Limits, name.replace("-", "_"))
        limits.add_argument(f"--{name}", type=kind, default=default, help=f"{meaning} ({default})")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted."""
    import uvicorn

    from tools.server.app import Limits, Server
    from tools.server.workers import Workers

    parser = arguments()
    options = parser.parse_args(argv)
    model: str | SegmenterSettings = options.model or DEFAULT_MODEL
    if options.segmenter and options.model:
        parser.error("--model and --segmenter exclude each other")
    if options.segmenter:
        model = SegmenterSettings.read(options.segmenter, options.segmenter_settings)
    elif options.segmenter_settings:
        parser.error("--segmenter-settings needs --segmenter")
    choose_gpu(options.gpu)  # for the workers, which inherit it
    limits = Limits(
        options.megabytes,
        options.megapixels,
        options.queue,
        options.upload_seconds,
        options.queue_seconds,
        options.job_seconds,
    )
    # Inherited by the workers, which share the processors.
    for variable in THREAD_VARIABLES:
        os.environ.setdefault(variable, str(max(1, available_workers() // options.workers)))

    with listen(options.host, options.port) as listener:
        workers = Workers(model, options.workers, limits.job_seconds)
        hosts = list(LOOPBACK_NAMES) if options.host in LOOPBACK_NAMES else ["*"]
        server = uvicorn.Server(
            uvicorn.Config(
                Server(workers, options.workers, limits).application(hosts),
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=round(limits.job_seconds),
            )
        )
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        print(f"Cut-outs at http://{shown}:{port} (Ctrl-C ends)", flush=True)
        server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    raise SystemExit(run_program(main))
