"""Ways to get a matte that can be compared: masks, bands, and nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from caffe_layers.matting import solve_alpha
from tools.evaluation.metrics import unknown_region
from tools.matting.caffe_net import read_net
from tools.matting.models import MODELS
from tools.matting.predictor import Predictor, takes_shape_mask
from tools.matting.session import MattingSession
from tools.matting.solve import smoothed

GRABCUT_ROUNDS = 5
GRABCUT_BAND = 10  # pixels of a 600 x 800 portrait on either side of the border
TRUE_BAND = 3  # pixels around the fractional ones


#: From a BGR photo (H, W, 3) and its true matte (H, W) to a matte; only the bound
#: looks at the truth.
Matter = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Pixels of a 600 x 800 portrait on either side of the segmenter's border.
PLAIN_BAND = 10


@dataclass(frozen=True)
class Contender:
    """One way to get a matte.

    Attributes
    ----------
    name : str
        Short, for files and options.
    title : str
        In tables.
    load : callable
        () to `Matter`; weights are read here.
    files : tuple of Path
        What decides its mattes besides the code; it takes part where all exist.
    settings : mapping
        How the files are used, as JSON holds it.
    """

    name: str
    title: str
    load: Callable[[], Matter]
    files: tuple[Path, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def missing(self) -> list[Path]:
        """Files that are not there."""
        return [path for path in self.files if not path.is_file()]


def plain_band_matte(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Our solve of a band of one width around the border of a mask.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    mask : (H, W) float ndarray
        In [0, 1].
    """
    person, band = np.uint8(mask > 0.5), disk(PLAIN_BAND)
    return solve_alpha(photo, cv2.erode(person, band), 1 - cv2.dilate(person, band))


def files_of(
    model: str,
    weights: Path | None = None,
    deploy: Path | None = None,
    shape_mask: Path | None = None,
) -> tuple[Path, ...]:
    """Every file that decides what a net sees in a photo, those of its second opinion too.

    Parameters
    ----------
    model : str
        A key of `tools.matting.models.MODELS`; names the files not given below.
    weights, deploy, shape_mask : Path, optional
    """
    known = MODELS[model]
    deploy, weights = deploy or known.deploy, weights or known.weights
    files = [deploy, weights]
    if deploy.is_file() and takes_shape_mask(read_net(deploy)):
        files.append(shape_mask or known.shape_mask)
    if known.second_opinion:
        files += files_of(known.second_opinion)
    return tuple(files)


def net_contender(
    name: str,
    title: str,
    model: str,
    weights: Path | None = None,
    deploy: Path | None = None,
    shape_mask: Path | None = None,
) -> Contender:
    """The matte of a net; what is not given is the model's (`tools.matting.models`)."""

    def load() -> Matter:
        predictor = Predictor(model, deploy, weights, shape_mask)
        return lambda photo, truth: predictor(photo).alpha

    files = files_of(model, weights, deploy, shape_mask)
    return Contender(name, title, load, files, {"looks_again": MODELS[model].looks_again})


def segmenter_contenders() -> list[Contender]:
    """The raw segmenter, and what two bands make of its mask."""
    files = files_of("selfie")

    def raw() -> Matter:
        session = MattingSession("selfie")
        return lambda photo, truth: session.segment(photo)

    def band() -> Matter:
        session = MattingSession("selfie")
        return lambda photo, truth: plain_band_matte(photo, session.segment(photo))

    def ours() -> Matter:
        session = MattingSession("selfie")
        return lambda photo, truth: session.matte(photo).alpha

    return [
        Contender("raw", "segmenter, raw mask", raw, files),
        Contender("band", "segmenter, plain band, our solve", band, files),
        Contender("selfie", "segmenter, our band, our solve (`--model selfie`)", ours, files),
    ]


def disk(radius: int) -> np.ndarray:
    """Structuring element."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def grabcut_matte(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Closed-form matte of a plain band around the GrabCut of a mask.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    mask : (H, W) float ndarray
        Of the segmenter, in [0, 1].
    """
    person = np.uint8(mask > 0.5)
    labels = np.where(person, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    wide = disk(2 * GRABCUT_BAND)
    labels[cv2.erode(person, wide) == 1] = cv2.GC_FGD
    labels[cv2.dilate(person, wide) == 0] = cv2.GC_BGD
    cv2.setRNGSeed(0)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(photo, labels, None, *models, GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = np.uint8((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD))
    band = disk(GRABCUT_BAND)
    return solve_alpha(photo, cv2.erode(cut, band), 1 - cv2.dilate(cut, band))


def true_trimap(truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Certain foreground and background: unknown is what is fractional, and a little more."""
    known = ~unknown_region(truth, TRUE_BAND)
    return known & (truth == 1), known & (truth == 0)


def bound_matte(photo: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Our solve of the true trimap."""
    return solve_alpha(smoothed(photo), *true_trimap(truth))
