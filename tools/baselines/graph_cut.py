"""Interactive graph cut without interaction: the first row of Table 1.

Boykov and Jolly, "Interactive Graph Cuts" (2001), with seeds from facial landmarks in place of
a user's strokes.  Labels A minimize, over 8-neighbors p and q with colors I,

    sum_p R_p(A_p) + gamma sum_pq [A_p != A_q] exp(-beta |I_p - I_q|^2) / dist(p, q)

R is -log of the seeds' color density, a mixture of five Gaussians; 1/beta is twice the mean of
|I_p - I_q|^2, gamma is 50.  OpenCV's grabCut has this energy: with models that stay as the
seeds have made them, one round of it is that cut (GrabCut itself would fit them again and
again).

The paper says that foreground colors were sampled around the points of a face tracker and
background seeds drawn at random, not where from.  That decides the result: see `SeedRule`.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from data_prep.common.landmark_scheme import LANDMARK_COUNT, LEFT_EYE, RIGHT_EYE

#: Where background seeds are drawn from: "anywhere" but the face, of which half hit the person;
#: or "above_chin", beside and above the head, which nearly all miss.
SeedRule = Literal["anywhere", "above_chin"]

BACKGROUND_SEEDS = 1000
# Radius of the discs of foreground seeds around the landmarks, in distances of the eyes.
DISC_RADIUS = 0.06
GAUSSIANS = 5  # of either color model in OpenCV
MODEL_SHAPE = (1, 13 * GAUSSIANS)  # weight, mean and covariance of each
NO_BOX = (0, 0, 0, 0)  # OpenCV asks for one, and uses none where there is a mask


def foreground_seeds(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Discs around the landmarks of a face.

    Parameters
    ----------
    landmarks : (68, 2) ndarray
        x and y in pixels, iBUG order.
    shape : (int, int)
        Image size (H, W).

    Returns
    -------
    (H, W) bool ndarray
    """
    eyes = landmarks[LEFT_EYE].mean(axis=0) - landmarks[RIGHT_EYE].mean(axis=0)
    radius = max(1, round(DISC_RADIUS * float(np.hypot(*eyes))))
    seeds = np.zeros(shape, np.uint8)
    for x, y in np.rint(landmarks).astype(int).tolist():
        cv2.circle(seeds, (x, y), radius, 1, thickness=cv2.FILLED)
    return seeds > 0


def background_region(
    landmarks: np.ndarray, shape: tuple[int, int], rule: SeedRule = "above_chin"
) -> np.ndarray:
    """Where background seeds are drawn from.

    Parameters
    ----------
    landmarks : (68, 2) ndarray
        x and y in pixels, iBUG order.
    shape : (int, int)
        Image size (H, W).
    rule : {"above_chin", "anywhere"}
        Above the chin's end, but for the width of the face on both sides of it and its height
        on top; or anywhere but the convex hull of the landmarks.

    Returns
    -------
    (H, W) bool ndarray
    """
    if rule == "anywhere":
        face = np.zeros(shape, np.uint8)
        hull = cv2.convexHull(np.rint(landmarks).astype(np.int32))
        cv2.fillConvexPoly(face, hull, 1)
        return face == 0
    rows, columns = np.indices(shape)
    left, top = landmarks.min(axis=0)
    right, chin = landmarks.max(axis=0)
    width, height = right - left, chin - top
    beside = (columns < left - width) | (columns > right + width) | (rows < top - height)
    return beside & (rows < chin)


def draw_seeds(region: np.ndarray, count: int, seed: int) -> np.ndarray:
    """So many pixels of a region, each at most once, or all of a smaller one.

    Parameters
    ----------
    region : (H, W) bool ndarray
    count, seed : int

    Returns
    -------
    (H, W) bool ndarray
    """
    places = np.flatnonzero(region)
    rng = np.random.default_rng(seed)
    drawn = np.zeros(region.shape, bool)
    drawn.flat[rng.choice(places, min(count, places.size), replace=False)] = True
    return drawn


def color_models(
    photo: np.ndarray, foreground: np.ndarray, background: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian mixtures of the seeds' colors, in OpenCV's form: background's, foreground's.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    foreground, background : (H, W) bool ndarray
        At least `GAUSSIANS` seeds each.
    """
    colors = np.concatenate([photo[background], photo[foreground]])[None]
    mask = np.full((1, colors.shape[1]), cv2.GC_FGD, np.uint8)
    mask[:, : np.count_nonzero(background)] = cv2.GC_BGD
    models = np.zeros((2, *MODEL_SHAPE))
    cv2.setRNGSeed(0)  # the mixtures start from k-means
    cv2.grabCut(colors, mask, NO_BOX, models[0], models[1], 0, cv2.GC_INIT_WITH_MASK)
    return models[0], models[1]


def minimum_cut(
    photo: np.ndarray,
    foreground: np.ndarray,
    background: np.ndarray,
    models: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """The labels of least energy that keep the seeds.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    foreground, background : (H, W) bool ndarray
        Seeds.
    models : pair of ndarray
        As of `color_models`.

    Returns
    -------
    (H, W) bool ndarray
        True: foreground.
    """
    height, width = photo.shape[:2]
    labels = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    labels[background] = cv2.GC_BGD
    labels[foreground] = cv2.GC_FGD
    scene, person = (model.copy() for model in models)
    cv2.grabCut(photo, labels, NO_BOX, scene, person, 1, cv2.GC_EVAL_FREEZE_MODEL)
    return (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)


def connected_to(mask: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The 8-connected parts of a mask that hold a seed.

    Parameters
    ----------
    mask, seeds : (H, W) bool ndarray
    """
    _, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    kept = np.unique(parts[seeds & mask])
    return np.isin(parts, kept) & mask


def graph_cut(
    photo: np.ndarray,
    landmarks: np.ndarray | None,
    rule: SeedRule = "above_chin",
    seed: int = 0,
    connected: bool = True,
) -> np.ndarray | None:
    """The person of a portrait, by a graph cut from landmarks.

    Parameters
    ----------
    photo : (H, W, 3) uint8 ndarray
    landmarks : (68, 2) ndarray or None
        x and y in pixels, iBUG order; None where no face was found.
    rule : {"above_chin", "anywhere"}
        See `background_region`.
    seed : int
        Of the draw of background seeds.
    connected : bool
        Whether parts without foreground seeds are left out.

    Returns
    -------
    (H, W) bool ndarray or None
        None where the photo has no seeds: no face, or nothing beside it.

    Raises
    ------
    ValueError
        If there are not 68 landmarks.
    """
    if landmarks is None:
        return None
    if landmarks.shape != (LANDMARK_COUNT, 2):
        raise ValueError(f"landmarks must have shape (68, 2), not {landmarks.shape}")
    shape = photo.shape[:2]
    foreground = foreground_seeds(landmarks, shape)
    region = background_region(landmarks, shape, rule) & ~foreground
    background = draw_seeds(region, BACKGROUND_SEEDS, seed)
    if min(np.count_nonzero(foreground), np.count_nonzero(background)) < GAUSSIANS:
        return None
    models = color_models(photo, foreground, background)
    person = minimum_cut(photo, foreground, background, models)
    return connected_to(person, foreground) if connected else person
