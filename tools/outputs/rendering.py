"""Pictures of a matte, as a request asks for them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from data_prep.common.errors import InputError
from data_prep.common.images import (
    SMALLEST_SIDE,
    is_stream,
    read_stream,
)
from data_prep.common.pictures import (
    Picture,
    in_color_space,
    read_alpha,
    read_picture,
    sixteen_bits,
)
from tools.matting.guidance import (
    ALPHA,
    MASK,
    TRIMAP,
    check_same_size,
    check_shape,
    levels_of,
    read_guidance,
)
from tools.matting.models import DEFAULT_MODEL
from tools.matting.segmenter_settings import SegmenterSettings
from tools.outputs import journal
from tools.outputs.effects import (
    EFFECTS,
    Effect,
    cut_out,
    depth_of_field,
    from_float,
    replace_background,
)
from tools.outputs.sheets import before_after, effects_sheet, render_trimap

if TYPE_CHECKING:  # it loads Caffe, which `--help` need not wait for
    from tools.matting.session import Matte

logger = logging.getLogger(__name__)

OUTPUTS = ("alpha", "cutout", "composite", "sheet", "trimap", "effects")
# Pictures to look at or to edit, in one format whatever `--format` says.
PNG_OUTPUTS = ("sheet", "trimap", "effects")
BLUR = "blur"


@dataclass(frozen=True)
class Request:
    """What is asked of every photo.

    Attributes
    ----------
    kinds : tuple of str
        Entries of `OUTPUTS` and `EFFECTS`.
    suffix : str
        The files', as in `data_prep.common.pictures.encode_picture`.
    model, mu
        See `tools.matting.session.MattingSession`.
    background : str or None
        A color, the path of an image, or `BLUR`.
    match_colors : bool
        Fit the person's colors to the background image.
    trimap, mask, alpha : Path or None
        In place of the model; a folder: the file of the photo's name there.
    segmenter : SegmenterSettings or None
        In place of the model.
    """

    kinds: tuple[str, ...]
    suffix: str = ".png"
    model: str = DEFAULT_MODEL
    mu: float | None = None
    background: str | None = None
    match_colors: bool = False
    trimap: Path | None = None
    mask: Path | None = None
    alpha: Path | None = None
    segmenter: SegmenterSettings | None = None

    @property
    def guidance(self) -> tuple[str, Path] | None:
        """Kind and place of the trimaps, masks or mattes from outside, if there are any."""
        given = ((TRIMAP, self.trimap), (MASK, self.mask), (ALPHA, self.alpha))
        return next(((kind, path) for kind, path in given if path is not None), None)

    def absolute(self) -> Request:
        """The same for a process that runs in another folder."""
        segmenter, background = self.segmenter, self.background
        if segmenter is not None:
            prototxt = segmenter.prototxt and segmenter.prototxt.absolute()
            segmenter = replace(segmenter, path=segmenter.path.absolute(), prototxt=prototxt)
        if background is not None and is_image_file(background):
            background = str(Path(background).absolute())
        given = {kind: path.absolute() for kind, path in (self.guidance,)} if self.guidance else {}
        return replace(self, segmenter=segmenter, background=background, **given)


@dataclass(frozen=True)
class Job:
    """One photo and the files to write.

    Attributes
    ----------
    name : str
        What messages call the photo.
    source : Path or bytes
    files : dict of str to Path
        By kind of output; empty where they go elsewhere.
    companion : Path or None
        Trimap, mask or matte of this photo.
    problem : str
        Why it cannot be matted; empty if nothing is known against it.
    keys : dict of str to str
        What was asked, by kind of output, where that is remembered.
    """

    name: str
    source: Path | bytes
    files: Mapping[str, Path] = field(default_factory=dict)
    companion: Path | None = None
    problem: str = ""
    keys: Mapping[str, str] = field(default_factory=dict)

    def absolute(self) -> Job:
        """The same for a process that runs in another folder."""
        source = self.source if isinstance(self.source, bytes) else self.source.absolute()
        return replace(
            self,
            source=source,
            files={kind: path.absolute() for kind, path in self.files.items()},
            companion=self.companion and self.companion.absolute(),
        )

    def is_done(self, entries: journal.Entries, out: Path) -> bool:
        """Whether all files are in the output folder as this job would make them."""
        return isinstance(self.source, Path) and all(
            journal.is_current(
                entries.get(path.relative_to(out).as_posix()),
                self.keys.get(kind, ""),
                path,
                self.source,
            )
            for kind, path in self.files.items()
        )

    def foreign_files(self, entries: journal.Entries, out: Path) -> list[Path]:
        """Files in the output folder that are not as they were written: somebody's work."""
        return [
            path
            for path in self.files.values()
            if not journal.is_own(entries.get(path.relative_to(out).as_posix()), path)
        ]


class LoadedRequest:
    """A request with its model and background loaded, ready for any number of photos.

    Raises
    ------
    InputError
        If a file of the model or segmenter or the background is missing or damaged.
    """

    def __init__(self, request: Request) -> None:
        from tools.matting.segmenter import Segmenter
        from tools.matting.session import MattingSession

        self._request = request
        model: str | Segmenter | None = None if request.guidance else request.model
        if request.segmenter is not None:
            model = Segmenter(request.segmenter)
        self._session = MattingSession(model, request.mu)
        self._background = read_background(request.background)

    def matte(self, photo: Picture, job: Job) -> Matte:
        """Matte of the photo of a job, at the depth of the outputs.

        Raises
        ------
        InputError
            If it cannot be matted, or its trimap, mask or matte not be read.
        """
        request = self._request
        bgr = sixteen_bits(photo.bgr) if request.suffix == ".tif" else photo.bgr
        given = {}
        if request.guidance is not None:
            kind, _ = request.guidance
            given[kind] = _read_companion(kind, job.companion, job.name, bgr.shape)
        try:
            return self._session.matte(bgr, **given)
        except InputError as error:
            raise InputError(f"{job.name}: {error}") from None

    def render(self, kind: str, photo: Picture, matte: Matte) -> np.ndarray:
        """One output: gray, BGR or BGRA.

        Parameters
        ----------
        kind : str
            An entry of `OUTPUTS` or `EFFECTS`.
        photo : Picture
        matte : Matte
            That photo's.
        """
        if kind == "alpha":
            return from_float(matte.alpha, matte.photo.dtype)
        if kind == "trimap":
            return render_trimap(matte.probabilities)
        layers = matte.photo, matte.alpha, matte.foreground
        if kind == "cutout":
            return cut_out(matte.foreground, matte.alpha)
        if kind == "sheet":
            return before_after(*layers)
        if kind == "composite":
            return self._before_background(photo).apply(*layers)
        if kind == "effects":
            new = {} if self._background is None else {"background": self._before_background(photo)}
            return effects_sheet(*layers, {**new, **EFFECTS})
        return EFFECTS[kind].apply(*layers)

    def _before_background(self, photo: Picture) -> Effect:
        if self._background is BLUR:
            return Effect("Blur", "Background", depth_of_field)
        ground = in_color_space(self._background, photo.icc)
        return Effect(
            "Background",
            "Background",
            functools.partial(replace_background, ground=ground, match=self._request.match_colors),
        )


def is_image_file(background: str | None) -> bool:
    """Whether ``--background`` names a file (or a pipe)."""
    if background in (None, BLUR):
        return False
    return Path(background).is_file() or is_stream(Path(background))


def read_background(text: str | None) -> Picture | str | None:
    """What ``--background`` names: an image, `BLUR`, or a color as one pixel.

    Raises
    ------
    InputError
        If it is none of them, or an unreadable image.
    """
    if text is None or text == BLUR:
        return text and BLUR
    if is_image_file(text):
        return read_picture(Path(text), smallest=SMALLEST_SIDE)
    try:
        color = bytes(ImageColor.getrgb(text))
    except ValueError:  # no color, or a value of it is above 255
        raise InputError(
            f"--background {text} is no image file, no color and not '{BLUR}'; "
            "colors are written as white or '#20a060'."
        ) from None
    if color[3:] not in (b"", b"\xff"):
        raise InputError(f"--background {text} is not opaque; leave its last value out.")
    return Picture(np.frombuffer(color[2::-1], np.uint8).reshape(1, 1, 3))


def _read_companion(kind: str, path: Path, photo: str, shape: tuple[int, ...]) -> np.ndarray:
    """What is given for a photo of this shape, a trimap or mask at its own size.

    What it assumes is logged.
    """
    if kind == ALPHA:
        alpha = read_alpha(path)
        check_same_size(alpha, path, shape, photo)
        return alpha
    stored = read_guidance(kind, read_stream(path) if is_stream(path) else path, path)
    check_shape(stored, path, shape, photo)
    guidance = levels_of(kind, stored, path)
    if guidance.assumed:
        logger.warning("%s", guidance.assumed)
    return guidance.values
