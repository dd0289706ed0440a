"""The web application: one page, and mattes over HTTP.

    GET /           the page
    GET /options    what a program or the page can ask for (JSON)
    GET /health     how busy the server is (JSON)
    POST /matte     a photo in, an image out (see `tools.server.requests`)

What does not work is answered by JSON, ``{"error": SENTENCE}``, and a status:
400 wrong request, 408 body too slow, 413 too large, 415 no readable image,
422 nobody in the photo, 429 queue full, 500 our fault, 503 waited too long,
504 computed too long.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tools.server.requests import OPTIONS, PARTS, Answer, Job, Refusal, job_from, options
from tools.server.workers import Workers

PAGE = Path(__file__).with_name("page.html")
RETRY_SECONDS = 2  # for which a refused client is asked to wait
# A Host header has an address of IPv6 in brackets or another name, and perhaps a port.
HOST = re.compile(r"(?:\[([^\]@]*)\]|([^:@\[\]/]*))(?::\d*)?")
MULTIPART = "multipart/form-data"
MOST_PARTS = 32  # of each kind: enough to name the one that is unknown or repeated


@dataclass(frozen=True)
class Limits:
    """What one server takes on.

    Attributes
    ----------
    megabytes : float
        Largest body of a request.
    megapixels : float
        Largest image in it; read from its header before it is decoded.
    queue : int
        Requests that may wait besides those that workers are at; their bodies
        are in memory.
    upload_seconds, queue_seconds, job_seconds : float
        For sending the body, for waiting, and for computing.
    """

    megabytes: float = 64
    megapixels: float = 24
    queue: int = 16
    upload_seconds: float = 60
    queue_seconds: float = 120
    job_seconds: float = 120


class MemoryParser(MultiPartParser):
    """Keeps parts in memory: bodies are bounded, and nothing touches the disk."""

    spool_max_size = 0  # of a SpooledTemporaryFile: never rolled over


class SecurityHeaders:
    """Adds headers to every answer; the page may load nothing but itself."""

    def __init__(self, app: ASGIApp, content_policy: str) -> None:
        self._app = app
        self._headers = {
            "Content-Security-Policy": content_policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
            "Cache-Control": "no-store",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class KnownHosts:
    """Refuses requests whose Host header has another name than the server's."""

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and "*" not in self._hosts:
            host = Headers(scope=scope).get("host", "")
            parsed = HOST.fullmatch(host.lower())
            if not parsed or (parsed[1] or parsed[2]) not in self._hosts:
                sentence = (
                    f"This server does not answer to the name {host[:80]!r}; "
                    f"it is one of {', '.join(self._hosts)}."
                )
                app = JSONResponse({"error": sentence}, 400)
        await app(scope, receive, send)


def content_policy(page: str) -> str:
    """Content-Security-Policy that admits the page's own script and style, by hash."""

    def sources(tag: str) -> str:
        blocks = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digests = (hashlib.sha256(block.encode()).digest() for block in blocks)
        return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

    return (
        f"default-src 'none'; script-src {sources('script')}; style-src {sources('style')}; "
        "img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


async def bounded(request: Request, most: int) -> AsyncIterator[bytes]:
    """The body of a request, refused (413) as soon as it exceeds `most` bytes."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise too_large(most)
        yield chunk


def too_large(most: int) -> Refusal:
    return Refusal(413, f"The request is larger than {most / 1e6:g} MB; send a smaller photo.")


@dataclass(frozen=True)
class Form:
    """What a request's body holds.

    Attributes
    ----------
    parts : dict of str to bytes
        Images by their names in `PARTS`; ``"photo"`` is there.
    options : list of (str, str)
        Text fields, unchecked.
    """

    parts: dict[str, bytes]
    options: list[tuple[str, str]]


async def read_form(request: Request, most: int) -> Form:
    """The images in a request, and the options beside them.

    A body that is not multipart is the photo itself, whatever its type: `curl` calls it a
    form.

    Raises
    ------
    Refusal
        400 for a malformed body, an unknown, empty or repeated part; 413.
    """
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most:
        raise too_large(most)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != MULTIPART:
        if media_type.startswith("multipart/"):
            raise Refusal(400, f"The request is {media_type[:40]}; send {MULTIPART}.")
        photo = b"".join([chunk async for chunk in bounded(request, most)])
        form = Form({"photo": photo}, [])
    else:
        form = await read_multipart(request, most)
    if not form.parts.get("photo"):
        raise Refusal(400, "There is no photo; send it as the body or as the part 'photo'.")
    return form


async def read_multipart(request: Request, most: int) -> Form:
    """Parts with a file name are images, the others options; raises as `read_form`."""
    parser = MemoryParser(
        request.headers,
        bounded(request, most),
        max_files=MOST_PARTS,
        max_fields=MOST_PARTS,
        max_part_size=most,
    )
    try:
        found = (await parser.parse()).multi_items()
    except MultiPartException as error:
        raise Refusal(
            400, f"The request is no readable multipart body ({error.message})."
        ) from error
    except UnicodeError as error:  # some character sets decode nothing
        raise Refusal(
            400, f"The request is no readable multipart body ({error}); send its names as UTF-8."
        ) from error
    form = Form({}, [])
    for name, part in found:
        shown = repr(name[:40])
        if not isinstance(part, UploadFile):
            if name in PARTS and name not in OPTIONS:
                raise Refusal(400, f"The part {shown} is text; send it as a file.")
            form.options.append((name, part))
            continue
        if name not in PARTS:
            if name in OPTIONS:
                raise Refusal(400, f"The option {shown} is a file; send it as text.")
            raise Refusal(400, f"There is no part {shown}; it is one of {', '.join(PARTS)}.")
        if name in form.parts:
            raise Refusal(400, f"The part {shown} is there twice; send it once.")
        content = await part.read()
        if not content and not part.filename:
            continue  # how browsers send the field of a file that was not chosen
        if not content:
            raise Refusal(400, f"The part {shown} is empty; send the content of its file.")
        form.parts[name] = content
    return form


class Server:
    """The endpoints, and the count of requests that are under way."""

    def __init__(self, workers: Workers, count: int, limits: Limits) -> None:
        self._workers = workers
        self._limits = limits
        self._most = count + limits.queue
        self._under_way = 0
        self._page = PAGE.read_text(encoding="utf-8")

    def application(self, hosts: list[str]) -> Starlette:
        """The ASGI application.

        Parameters
        ----------
        hosts : list of str
            Names that the Host header may have; ``"*"`` for any.  A server
            on the loopback address has to insist on its own names, or a web
            site could point a name of its own at it and read the answers.
        """

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            yield
            await run_in_threadpool(self._workers.close)

        return Starlette(
            routes=[
                Route("/", self.page),
                Route("/options", self.options),
                Route("/health", self.health),
                Route("/matte", self.matte, methods=["POST"]),
            ],
            middleware=[
                Middleware(SecurityHeaders, content_policy=content_policy(self._page)),
                Middleware(KnownHosts, hosts=hosts),
            ],
            exception_handlers={
                Refusal: refused,
                ClientDisconnect: client_gone,
                HTTPException: http_error,
                Exception: failed,
            },
            lifespan=lifespan,
        )

    async def page(self, _: Request) -> Response:
        return HTMLResponse(self._page)

    async def options(self, _: Request) -> Response:
        limits = {"megabytes": self._limits.megabytes, "megapixels": self._limits.megapixels}
        return JSONResponse({**options(), "limits": limits})

    async def health(self, _: Request) -> Response:
        return JSONResponse({"under_way": self._under_way, "most": self._most})

    async def matte(self, request: Request) -> Response:
        """Admit, read, queue, answer.

        A request is admitted before its body is read: the queue's bound is
        also the bound of the memory that bodies take.
        """
        if request.headers.get("sec-fetch-site") == "cross-site":
            raise Refusal(403, "Pages of other sites may not use this server.")
        if self._under_way >= self._most:
            raise Refusal(429, "The queue is full; try again in a moment.", RETRY_SECONDS)
        self._under_way += 1
        try:
            answer = await self._answer(request, await self._job(request))
        finally:
            self._under_way -= 1
        headers = {"Content-Disposition": f'inline; filename="{answer.name}"'}
        if answer.assumed:
            headers["X-Assumed"] = answer.assumed
        return Response(answer.content, media_type=answer.media_type, headers=headers)

    async def _job(self, request: Request) -> Job:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.upload_seconds):
                form = await read_form(request, int(limits.megabytes * 1e6))
        except TimeoutError:
            raise Refusal(
                408, f"The request was not here after {limits.upload_seconds:g} seconds."
            ) from None
        asked = [*request.query_params.multi_items(), *form.options]
        return job_from(asked, form.parts, int(limits.megapixels * 1e6))

    async def _answer(self, request: Request, job: Job) -> Answer:
        """Queue a job; give it up when it waits too long or its client leaves."""
        future = self._workers.submit(job)
        answer = asyncio.wrap_future(future)
        left = asyncio.ensure_future(disconnection(request))
        await asyncio.wait(
            (answer, left),
            timeout=self._limits.queue_seconds,
            return_when=asyncio.FIRST_COMPLETED,
        )
        gone = left.done()
        left.cancel()
        if not answer.done() and future.cancel():  # not once it is under work
            if gone:
                raise ClientDisconnect
            raise Refusal(503, "The server is too busy; try again later.", RETRY_SECONDS)
        return await answer


async def disconnection(request: Request) -> None:
    """Return when the client has left; the body has to be read already."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def refused(_: Request, refusal: Refusal) -> Response:
    headers = {"Retry-After": str(refusal.retry)} if refusal.retry else None
    return JSONResponse({"error": refusal.sentence}, refusal.status, headers)


async def client_gone(_: Request, __: ClientDisconnect) -> Response:
    return Response(status_code=499)  # nobody reads it


async def http_error(request: Request, error: HTTPException) -> Response:
    sentence = {
        404: f"There is nothing at {request.url.path[:80]}; mattes are made at /matte.",
        405: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, error.detail)
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


async def failed(_: Request, __: Exception) -> Response:
    """The server's own fault; its log has the traceback."""
    return JSONResponse({"error": "The server failed; its log has the details."}, 500)
