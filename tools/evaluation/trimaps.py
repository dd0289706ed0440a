"""How far a trimap is from the true one: confusion of its classes, and what follows from it.

Classes are numbered as in the nets: 0 foreground, 1 background, 2 unknown.  Trimaps are (H, W)
uint8 arrays of them, before any widening of the unknown region.  All measures are of a confusion
matrix; matrices of several photos are added, so that every pixel counts alike.

>>> truth = np.uint8([[0, 0, 2, 1]])
>>> measures = TrimapMeasures.of(confusion_matrix(truth, np.uint8([[0, 0, 1, 1]])))
>>> measures.pixel_accuracy, measures.recall_of_unknown, measures.iou
(0.75, 0.0, (1.0, 0.5, 0.0))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

CLASSES = ("foreground", "background", "unknown")
FOREGROUND, BACKGROUND, UNKNOWN = range(3)
#: Widths, in pixels, of the bands round the true boundary in which accuracy is also measured.
BAND_WIDTHS = (1, 2, 5, 10, 20, 40)


def classes_of_matte(alpha: np.ndarray) -> np.ndarray:
    """The true trimap of a matte: what is fractional is unknown.

    Parameters
    ----------
    alpha : (H, W) ndarray
        In [0, 1].

    Returns
    -------
    (H, W) uint8 ndarray
    """
    classes = np.full(alpha.shape, UNKNOWN, np.uint8)
    classes[alpha == 1], classes[alpha == 0] = FOREGROUND, BACKGROUND
    return classes


def confusion_matrix(
    truth: np.ndarray, predicted: np.ndarray, region: np.ndarray | None = None
) -> np.ndarray:
    """Pixels by true and by predicted class.

    Parameters
    ----------
    truth, predicted : (H, W) uint8 ndarray
        Classes.
    region : (H, W) bool ndarray, optional
        Pixels to count; default all.

    Returns
    -------
    (3, 3) int64 ndarray
        A row for each true class, a column for each predicted one.

    Raises
    ------
    ValueError
        If the shapes differ, or there is a class above 2.
    """
    if truth.shape != predicted.shape or (region is not None and region.shape != truth.shape):
        raise ValueError(f"Trimaps of shapes {truth.shape}, {predicted.shape}: not a pair.")
    if region is not None:
        truth, predicted = truth[region], predicted[region]
    count = len(CLASSES)
    if truth.size and max(truth.max(), predicted.max()) >= count:
        raise ValueError(f"Classes go from 0 to {count - 1}; these are no trimaps.")
    pairs = count * truth.astype(np.intp) + predicted
    return np.bincount(pairs.ravel(), minlength=count**2).reshape(count, count).astype(np.int64)


@dataclass(frozen=True)
class TrimapMeasures:
    """What a confusion matrix says; 1 is perfect unless told otherwise.

    Attributes
    ----------
    pixel_accuracy : float
        Share of the pixels whose class is right.
    mean_accuracy : float
        Mean of the shares of each true class that are right.
    iou : (float, float, float)
        Intersection over union of each class; NaN for one that is neither true nor predicted
        anywhere.
    mean_iou, frequency_weighted_iou : float
        Mean over the classes there are, and the same weighted by their true pixels.
    recall_of_unknown : float
        Share of the truly unknown pixels that are called so; NaN without any.  A wide unknown
        region buys it: to be read beside `share_of_unknown`.
    share_of_unknown, true_share_of_unknown : float
        Share of all pixels that are called unknown, and that are; 1 is nothing good here.
    unknown_called_foreground, unknown_called_background : float
        Shares of the truly unknown pixels that are called known, which no solve can repair; 0 is
        perfect, NaN without any.
    """

    pixel_accuracy: float
    mean_accuracy: float
    iou: tuple[float, float, float]
    mean_iou: float
    frequency_weighted_iou: float
    recall_of_unknown: float
    share_of_unknown: float
    true_share_of_unknown: float
    unknown_called_foreground: float
    unknown_called_background: float

    @classmethod
    def of(cls, confusion: np.ndarray) -> TrimapMeasures:
        """The measures of a `confusion_matrix`, or of a sum of several.

        Parameters
        ----------
        confusion : (3, 3) int ndarray

        Raises
        ------
        ValueError
            If no pixel was counted.
        """
        pixels = confusion.sum()
        if not pixels:
            raise ValueError("No pixel was counted; a region has to have some.")
        right, true, called = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
        with np.errstate(invalid="ignore"):  # 0 / 0 of classes that do not occur
            accuracy, iou = right / true, right / (true + called - right)
            unknown = confusion[UNKNOWN] / true[UNKNOWN]
        foreground_iou, background_iou, unknown_iou = map(float, iou)
        return cls(
            pixel_accuracy=float(right.sum() / pixels),
            mean_accuracy=float(np.nanmean(accuracy)),
            iou=(foreground_iou, background_iou, unknown_iou),
            mean_iou=float(np.nanmean(iou)),
            frequency_weighted_iou=float(np.nansum(true * iou) / pixels),
            recall_of_unknown=float(unknown[UNKNOWN]),
            share_of_unknown=float(called[UNKNOWN] / pixels),
            true_share_of_unknown=float(true[UNKNOWN] / pixels),
            unknown_called_foreground=float(unknown[FOREGROUND]),
            unknown_called_background=float(unknown[BACKGROUND]),
        )


def boundary_distance(truth: np.ndarray) -> np.ndarray:
    """Distance of each pixel from the nearest one of another class.

    Parameters
    ----------
    truth : (H, W) uint8 ndarray
        Classes.

    Returns
    -------
    (H, W) float32 ndarray
        In pixels: 1 on both sides of a boundary; infinite where there is one class alone.
    """
    distance = np.full(truth.shape, np.inf, np.float32)
    for each in np.unique(truth):
        inside = truth == each
        if not inside.all():
            found = cv2.distanceTransform(
                inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE
            )
            distance[inside] = found[inside]
    return distance


def band_confusions(
    truth: np.ndarray, predicted: np.ndarray, widths: Sequence[float] = BAND_WIDTHS
) -> np.ndarray:
    """`confusion_matrix` in bands round the true boundary between classes.

    The errors of trimaps lie there: in all pixels they drown among those that are easy
    (Kohli, Ladicky and Torr, IJCV 2009).

    Parameters
    ----------
    truth, predicted : (H, W) uint8 ndarray
        Classes.
    widths : sequence of float
        Largest `boundary_distance`, in pixels, of what is in a band.

    Returns
    -------
    (N, 3, 3) int64 ndarray
        A matrix for each width.
    """
    distance = boundary_distance(truth)
    return np.stack([confusion_matrix(truth, predicted, distance <= width) for width in widths])
