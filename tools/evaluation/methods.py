"""Matting methods that are compared: masks of a segmenter, bands around them, and nets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from caffe_layers.matting import solve_alpha
from caffe_layers.smoothing import smoothed
from tools.evaluation.metrics import unknown_region
from tools.matting.caffe_net import read_net
from tools.matting.models import MODELS
from tools.matting.predictor import Predictor, takes_shape_mask
from tools.matting.session import MattingSession

GRABCUT_ROUNDS = 5
# Half the width of a band around a person's border, in pixels of a 600 x 800 portrait:
# around the border that GrabCut finds, and around that of the segmenter's mask.
GRABCUT_BAND = 10
PLAIN_BAND = 10
TRUE_BAND = 3  # pixels around the fractional ones of a true matte


class MatteOfPortrait(Protocol):
    """How a method is called once its weights are loaded."""

    def __call__(self, photo: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """Matte of a photo.

        Parameters
        ----------
        photo : (H, W, 3) uint8 ndarray
            BGR.
        truth : (H, W) float64 ndarray
            The true matte, in [0, 1].  Only the bound uses it.

        Returns
        -------
        (H, W) ndarray
            In [0, 1].
        """


@dataclass(frozen=True)
class MattingMethod:
    """One way to get a matte.

    Attributes
    ----------
    name : str
        Short, for files and options.
    title : str
        What tables call it.
    load : callable
        Reads the weights and returns a `MatteOfPortrait`; takes no arguments.
    files : tuple of Path
        All files that decide its mattes, besides the code.
    settings : mapping
        How the files are used, in types that JSON holds.
    """

    name: str
    title: str
    load: Callable[[], MatteOfPortrait]
    files: tuple[Path, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)

    @property
    def missing(self) -> list[Path]:
        """Files that do not exist; empty where the method can be used."""
        return [path for path in self.files if not path.is_file()]


def plain_band_matte(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Our solve inside a band of constant width around the border of a mask.

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
    """All files that decide a net's mattes, including those of its second opinion.

    Parameters
    ----------
    model : str
        A key of `tools.matting.models.MODELS`; its files are used where none is given.
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


def net_method(
    name: str,
    title: str,
    model: str,
    weights: Path | None = None,
    deploy: Path | None = None,
    shape_mask: Path | None = None,
) -> MattingMethod:
    """The mattes of a net.

    Parameters
    ----------
    name, title : str
        See `MattingMethod`.
    model : str
        A key of `tools.matting.models.MODELS`; its files are used where none is given.
    weights, deploy, shape_mask : Path, optional
    """

    def load() -> MatteOfPortrait:
        session = MattingSession(Predictor(model, deploy, weights, shape_mask))
        return lambda photo, truth: session.matte(photo).alpha

    known = MODELS[model]
    # Errors are stored under these settings: another name of a key would orphan them.
    settings = {"looks_again": known.test_time_augmentation}
    if known.multiclass:  # left out elsewhere, so that older errors stay valid
        settings["multiclass"] = True
    return MattingMethod(name, title, load, files_of(model, weights, deploy, shape_mask), settings)


def segmenter_methods() -> list[MattingMethod]:
    """The segmenter's raw mask, and two bands that are made from it."""
    files = files_of("selfie")

    def raw() -> MatteOfPortrait:
        session = MattingSession("selfie")
        return lambda photo, truth: session.segment(photo)

    def band() -> MatteOfPortrait:
        session = MattingSession("selfie")
        return lambda photo, truth: plain_band_matte(photo, session.segment(photo))

    def ours() -> MatteOfPortrait:
        session = MattingSession("selfie")
        return lambda photo, truth: session.matte(photo).alpha

    return [
        MattingMethod("raw", "segmenter, raw mask", raw, files),
        MattingMethod("band", "segmenter, plain band, our solve", band, files),
        MattingMethod("selfie", "segmenter, our band, our solve (`--model selfie`)", ours, files),
    ]


def disk(radius: int) -> np.ndarray:
    """Round structuring element for OpenCV's morphology, ``2 * radius + 1`` pixels wide."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def grabcut_matte(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Closed-form matte inside a band around the border that GrabCut finds.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    mask : (H, W) float ndarray
        The segmenter's, in [0, 1]; GrabCut starts from it.
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
    """Certain foreground and background; pixels near fractional ones are in neither."""
    known = ~unknown_region(truth, TRUE_BAND)
    return known & (truth == 1), known & (truth == 0)


def bound_matte(photo: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Our solve of the true trimap: the bound for every method that predicts a trimap."""
    return solve_alpha(smoothed(photo), *true_trimap(truth))
