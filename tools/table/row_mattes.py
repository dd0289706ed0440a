"""The mattes of a row of Table 1.

No row has any of our product's other means: no views that are averaged, no second opinion, no
snapping.  Scores of nets are kept, so that tuning and another choice cost solves only.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from caffe_layers.mean_field import CrfSettings, CrfWeights, dense_crf
from data_prep.caffe_data.shape_mask import ShapeMask
from data_prep.common.digests import content_key, sha256_of
from data_prep.common.files import atomic_write
from data_prep.common.images import write_image
from prototxt.catalog import CRF_LAYER, MEAN_BGR, Net
from tools.baselines.graph_cut import graph_cut
from tools.baselines.portraitfcn import net_input
from tools.evaluation.errors_cache import mattes_key
from tools.evaluation.trimaps import classes_of_matte
from tools.evaluation.truths import PhotoTruth
from tools.matting.caffe_net import load_net, read_caffemodel, read_net, run_net
from tools.matting.face_detector import FaceDetector
from tools.matting.photo_view import (
    FaceLandmarks,
    Faces,
    FoundFaces,
    PhotoView,
    eight_bit_resized,
)
from tools.matting.predictor import Predictor
from tools.matting.session import Matte
from tools.matting.solve import solved
from tools.matting.trimap import ClassScores, estimate_trimap
from tools.outputs.sheets import TRIMAP_GRAYS
from tools.table.calibration import calibrated_scores
from tools.table.hard_trimap import classes_of_mask, classes_of_scores, solved_matte
from tools.table.rows import Row, Settings

#: Raise it when the mattes of rows change without any of their files
#: (`data_prep.common.versions`).
ROWS_VERSION = 1
GRAY = 0.5

#: Scores (C, h, w) of a photo.
Scores = Callable[[PhotoView], np.ndarray]


@dataclass(frozen=True)
class NetFiles:
    """A trained net of a row.

    Attributes
    ----------
    net : Net
    model : str
        Key of `tools.matting.models.MODELS` that has its input.
    weights, shape_mask : Path
    learned_crf : CrfSettings or None
        Kernels of a CRF whose other parameters the net has learned.
    """

    net: Net
    model: str
    weights: Path
    shape_mask: Path
    learned_crf: CrfSettings | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide its scores."""
        masks = (self.shape_mask,) if self.net.has_shape_mask else ()
        return (self.net.trimap_deploy, self.weights, *masks)

    def predictor(self) -> Predictor:
        """The loaded net; not for one with position channels."""
        return Predictor(self.model, self.net.trimap_deploy, self.weights, self.shape_mask)

    def load_scores(self) -> Scores:
        """What gives its scores, with the net loaded."""
        if self.net.has_position:
            return self._load_with_position()
        predictor = self.predictor()
        if self.learned_crf is None:
            return lambda view: _scores_of(predictor, view)
        settings = self.learned_crf
        blobs = read_caffemodel(self.weights)[CRF_LAYER]
        weights = CrfWeights(*blobs)

        def after_crf(view: PhotoView) -> np.ndarray:
            return scores_after_crf(_scores_of(predictor, view), view, settings, weights)

        return after_crf

    def _load_with_position(self) -> Scores:
        definition = read_net(self.net.trimap_deploy)
        net = load_net(definition, read_caffemodel(self.weights), self.weights)
        mask = ShapeMask.load(self.shape_mask)

        def scores(view: PhotoView) -> np.ndarray:
            face = next(iter(view.aligned_landmarks), None)
            reduction = view.shape[0] // net.blobs["data"].shape[2]
            net.blobs["data"].data[0] = net_input(view.eight_bit, face, mask, reduction)
            return run_net(net, "score")[0].copy()

        return scores


def _scores_of(predictor: Predictor, view: PhotoView) -> np.ndarray:
    found = predictor.scores(view).net
    if found is None:
        raise ValueError("the net has no scores of a trimap")
    return found.scores


def _calibrated(found: ClassScores, settings: Settings) -> ClassScores:
    if found.net is None:
        return found
    scores = calibrated_scores(found.net.scores, settings.sharpness, settings.unknown_bias)
    return replace(found, net=replace(found.net, scores=scores))


def scores_after_crf(
    scores: np.ndarray, view: PhotoView, settings: CrfSettings, weights: CrfWeights | None = None
) -> np.ndarray:
    """Scores (C, h, w) after a dense CRF on the photo at their size (`dense_crf`)."""
    # Offset as in training: the filter's lattice has a fixed origin.
    image = eight_bit_resized(view.eight_bit, scores.shape[1:]) - np.array(MEAN_BGR, np.float32)
    planes = np.ascontiguousarray(scores.astype(np.float32).transpose(1, 2, 0))
    after = dense_crf(planes, image, settings, weights=weights)
    return np.ascontiguousarray(after.transpose(2, 0, 1))


@lru_cache(maxsize=1)
def _detector() -> FaceDetector:
    return FaceDetector()


Result = TypeVar("Result")


class _TimedFinder:
    """The detector, and how long it has taken."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def find(self, photo: np.ndarray) -> FoundFaces:
        return self._timed(_detector().find, photo)

    def landmarks(self, photo: np.ndarray, found: FoundFaces) -> tuple[FaceLandmarks, ...]:
        return self._timed(_detector().landmarks, photo, found)

    def _timed(self, call: Callable[..., Result], *arguments: object) -> Result:
        begin = time.perf_counter()
        result = call(*arguments)
        self.seconds += time.perf_counter() - begin
        return result


def view_of(photo: np.ndarray) -> PhotoView:
    """A photo in which one detector finds the faces."""
    return PhotoView(photo, _detector())


def aligned_mask(mask: ShapeMask, view: PhotoView) -> np.ndarray | None:
    """The shape mask over the largest face of a photo, (H, W) in [0, 1]; None without a face."""
    found = view.aligned_landmarks
    return mask.warp_to(found[0], view.shape) if found else None


@lru_cache(maxsize=1)  # a net takes half a gigabyte; rows come one after the other
def _scorer(files: NetFiles) -> Scores:
    return files.load_scores()


@lru_cache(maxsize=1)
def _predictor(files: NetFiles) -> Predictor:
    return files.predictor()


@dataclass(frozen=True)
class Seconds:
    """What a photo takes, by part.

    Attributes
    ----------
    faces : float
        Finding faces and landmarks; 0 where a row asks for none.
    classes : float
        From there to the classes of the pixels: the net, CRF or graph cut.
    matte : float
        From there to the matte: widening and the solve.
    """

    faces: float
    classes: float
    matte: float


@dataclass(frozen=True)
class RowMattes:
    """What gives the mattes of a row with some settings: a `tools.evaluation.matte_sources`.

    Attributes
    ----------
    row : Row
    settings : Settings
    shape_mask : Path
        That of the training portraits.
    cache : Path
        Folder where scores of nets and graph cuts are kept.
    net : NetFiles or None
        Its net, where it has one.
    out : Path or None
        Where mattes and trimaps are kept as PNG.
    draw : int
        Of a graph cut's background seeds.
    """

    row: Row
    settings: Settings
    shape_mask: Path
    cache: Path
    net: NetFiles | None = None
    out: Path | None = None
    draw: int = 0

    def __getstate__(self) -> dict[str, Any]:
        # Without what is loaded: another process loads it itself.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def _net(self) -> NetFiles:
        if self.net is None:
            raise ValueError(f"{self.row.name} has no net")
        return self.net

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that decide the mattes, besides the photos."""
        if self.net is not None:
            return self.net.files
        return (self.shape_mask,) if self.row.source in ("graph_cut", "shape_mask") else ()

    @property
    def about(self) -> dict[str, Any]:
        return {"row": self.row.name, "settings": self.settings.to_json()}

    @cached_property
    def key(self) -> str:
        learned = self.net.learned_crf if self.net else None
        settings = {
            "source": self.row.source,
            "seeds": self.row.seeds,
            "draw": self.draw,
            "version": ROWS_VERSION,
            "learned_crf": None if learned is None else repr(learned),
        }
        if self.row.axes:
            settings |= self.settings.to_json()
        return mattes_key(self.row.name, settings, self.files)

    def load(self) -> None:
        pass

    def files_for(self, truth: PhotoTruth) -> list[Path]:
        return []

    def matte(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        """The matte, which is also written where `out` says."""
        view = view_of(photo)
        probabilities, solve = self._decided(truth, view)
        alpha = solve()
        faces: Faces = ()
        if self.out is not None:
            faces = view.faces  # not of the many trials of settings, which do not ask for them
            classes = np.argmax(probabilities, axis=0)
            levels = np.rint(255 * alpha).astype(np.uint8)
            write_image(self.out / "mattes" / f"{truth.name}.png", levels)
            write_image(self.out / "trimaps" / f"{truth.name}.png", TRIMAP_GRAYS[classes])
        return Matte(photo, alpha, probabilities, faces, bool(alpha.any()))

    def seconds(self, truth: PhotoTruth, photo: np.ndarray) -> Seconds:
        """What the matte takes, with everything loaded and without what `cache` may hold."""
        finder = _TimedFinder()
        begin = time.perf_counter()
        _, solve = self._decided(truth, PhotoView(photo, finder))
        decided = time.perf_counter()
        solve()
        deciding = decided - begin - finder.seconds
        return Seconds(finder.seconds, deciding, time.perf_counter() - decided)

    def _decided(
        self, truth: PhotoTruth, view: PhotoView
    ) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
        """Probabilities (3, H, W) of the classes, and what makes the matte of them."""
        photo = view.photo
        if self.row.source == "constant":
            unknown = np.full(view.shape, 2, np.uint8)
            return _planes(unknown), lambda: np.full(view.shape, GRAY)
        if self.row.source == "matte":
            predictor = _predictor(self._net)
            scores = _calibrated(predictor.scores(view), self.settings)
            estimate = estimate_trimap(view, scores)
            return estimate.probabilities, lambda: solved(photo, estimate, predictor.lambda_)
        classes = self.classes(truth, view)
        return _planes(classes), lambda: solved_matte(photo, classes, self.settings)

    def classes(self, truth: PhotoTruth, view: PhotoView) -> np.ndarray:
        """Classes of the pixels before the unknown region is widened, (H, W) uint8."""
        if self.row.source == "truth":
            return classes_of_matte(truth.read_truth())
        if self.row.source == "graph_cut":
            key = self.row.seeds, self.draw, self.settings.connected, sha256_of(self.shape_mask)
            return self._kept(truth, ["cut", ROWS_VERSION, *key], lambda: self._cut(view))
        if self.row.source == "shape_mask":
            return self._shape_mask(view)
        return classes_of_scores(self.scores(truth, view), view.shape)

    def _cut(self, view: PhotoView) -> np.ndarray:
        """Classes of a graph cut; where there are no seeds, those of the shape mask."""
        points = view.landmarks[0].points if view.landmarks else None
        person = graph_cut(
            view.eight_bit, points, self.row.seeds, self.draw, self.settings.connected
        )
        return self._shape_mask(view) if person is None else classes_of_mask(person)

    def _shape_mask(self, view: PhotoView) -> np.ndarray:
        """Classes that the shape mask gives; where no face was found, in its own frame's place."""
        mask = ShapeMask.load(self.shape_mask)
        share = aligned_mask(mask, view)
        if share is None:
            share = eight_bit_resized(np.rint(255 * mask.mean).astype(np.uint8), view.shape) / 255
        return classes_of_mask(share > GRAY)

    def scores(self, truth: PhotoTruth, view: PhotoView) -> np.ndarray:
        """Scores (C, h, w) float16 of the row's net, after its dense CRF if it has one."""

        def of_net() -> np.ndarray:
            return _scorer(self._net)(view).astype(np.float16)

        scores = self._kept(truth, [self._scores_key], of_net)
        if (crf := self.settings.crf) is None:
            return scores

        def after_crf() -> np.ndarray:
            return scores_after_crf(scores, view, crf).astype(np.float16)

        return self._kept(truth, [self._scores_key, asdict(crf)], after_crf)

    def _kept(
        self, truth: PhotoTruth, about: Sequence[Any], make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """An array of a photo from `cache`, where it is put when it is first made.

        Parameters
        ----------
        truth : PhotoTruth
        about : sequence
            What it depends on besides the photo, in types that JSON holds.
        make : callable
        """
        key = content_key(*about, sha256_of(truth.pair.photo))
        path = self.cache / key[:2] / f"{key}.npz"
        try:
            with np.load(path) as arrays:
                return arrays["values"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            values = make()
        with atomic_write(path) as scratch, open(scratch, "wb") as stream:
            np.savez(stream, values=values)
        return values

    @cached_property
    def _scores_key(self) -> str:
        net = self._net
        return mattes_key("scores", {"learned_crf": repr(net.learned_crf)}, net.files)


def _planes(classes: np.ndarray) -> np.ndarray:
    """(3, H, W) float32 planes of (H, W) classes, as a net's probabilities."""
    return (classes == np.arange(3)[:, None, None]).astype(np.float32)
