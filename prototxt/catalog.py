"""Where net definitions and weights are, and the numbers that nets and programs share.

Does not load Caffe, so that programs that need no net work without it.

>>> NETS["portrait"].has_shape_mask, NETS["portrait"].trimap_deploy.name
(True, 'trimap_deploy.prototxt')

Definitions lie beside this file, in a checkout of the repository as in an installed
package.  Weights that come with the project lie in ``data/weights``; a wheel carries that
folder inside this package.  Weights that a command makes go to ``data/models`` of the
checkout, and beside the fetched assets where there is no checkout.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.common.assets import cache_dir

#: Mean color of the published FCN and VGG nets, BGR, pixel range 0-255.
MEAN_BGR = (104.00699, 116.66877, 122.67892)
#: The mean-field layer of CRF-RNN, and its blob of scores.
CRF_LAYER = "crf_score"

#: Databases that nets are trained on, and those of the rendered set, as their definitions name
#: them: relative to the checkout.  The Makefile has both, too.
PREPARED = "data/prepared"
PORTRAIT_PREPARED = "data/prepared_portrait"

# The trimap head of the segmenter (`prototxt.netspec.selfie.trimap_head`), chosen by the mean SAD
# and gradient error of the mattes of rendered training portraits; 4 to 8 do equally well.
SHARPNESS = 10.0
CERTAIN_LOGIT = 6.0

DEFINITIONS = Path(__file__).resolve().parent
_INSTALLED_WEIGHTS = DEFINITIONS / "weights"
#: Whether this is a package that pip installed from a wheel, not a checkout.
IS_INSTALLED = _INSTALLED_WEIGHTS.is_dir()
#: Folder of the weights that come with the project.
SHIPPED_WEIGHTS = _INSTALLED_WEIGHTS if IS_INSTALLED else DEFINITIONS.parent / "data/weights"
#: Folder of the weights that commands make.
MADE_WEIGHTS = cache_dir() / "models" if IS_INSTALLED else DEFINITIONS.parent / "data/models"


def score_weights() -> tuple[np.ndarray, np.ndarray]:
    """Weights of the segmenter's trimap head, see `prototxt.netspec.selfie.trimap_head`.

    Returns
    -------
    kernel : ndarray of shape (3, 2)
        Weights of the negated least and of the largest logit nearby.
    bias : ndarray of shape (3,)
    """
    kernel = -SHARPNESS * np.eye(3, 2)
    bias = -SHARPNESS * CERTAIN_LOGIT * np.array([1, 1, 0])
    return kernel, bias


@dataclass(frozen=True)
class Net:
    """The definitions of one net.

    Attributes
    ----------
    name : str
        Also the name of its folder.
    has_shape_mask : bool
        Whether its input has the aligned shape mask as a fourth channel.
    compared_with : str or None
        For a net that exists to be compared with another: that net's name.  It starts from the
        same random draws.
    has_position : bool
        Whether its input has position channels, between the colors and the shape mask.
    """

    name: str
    has_shape_mask: bool = True
    compared_with: str | None = None
    has_position: bool = False

    def _file(self, kind: str) -> Path:
        return DEFINITIONS / self.name / f"{kind}.prototxt"

    def packed_weights(self, folder: Path = SHIPPED_WEIGHTS) -> Path:
        """Its weights with 8 bits each (`tools.training.quantization`) in a folder."""
        return folder / f"{self.name}.int8.npz"

    def initial_weights(self, folder: Path = MADE_WEIGHTS) -> Path:
        """The weights that its training starts from (`tools/init_weights.py`) in a folder."""
        return folder / f"{self.name}_init.caffemodel"

    def shape_mask(self, folder: Path) -> Path:
        """The shape mask that belongs to its weights in a folder."""
        return folder / f"{self.name}.shape_mask.npz"

    @property
    def train_val(self) -> Path:
        """For training end to end: from the databases to the matte's loss."""
        return self._file("train_val")

    @property
    def deploy(self) -> Path:
        """From ``data`` to ``alpha``, with the matting layer; CRF-RNN's to ``prob``."""
        return self._file("deploy")

    @property
    def trimap_train_val(self) -> Path:
        """For the warm start: from the databases to the trimap's loss."""
        return self._file("trimap_train_val")

    @property
    def trimap_deploy(self) -> Path:
        """From ``data`` to ``score``, without Python layers."""
        return self._file("trimap_deploy")


NETS = {
    net.name: net
    for net in (
        Net("fcn8s"),
        Net("fcn8s_nomask", has_shape_mask=False, compared_with="fcn8s"),
        Net("fcn8s_half"),
        Net("fcn8s_half_nomask", has_shape_mask=False, compared_with="fcn8s_half"),
        Net("lite"),
        Net("lite_nomask", has_shape_mask=False, compared_with="lite"),
        Net("portrait"),
        Net("portrait_nomask", has_shape_mask=False, compared_with="portrait"),
        Net("portrait_third"),
        Net("selfie", has_shape_mask=False),
        # Rows of Table 1.  Their definitions are those of the trimap alone.
        Net("deeplab_half", has_shape_mask=False, compared_with="fcn8s_half"),
        Net("lite_deeplab", has_shape_mask=False, compared_with="lite"),
        Net("crfrnn_half", has_shape_mask=False, compared_with="fcn8s_half"),
        Net("lite_crfrnn", has_shape_mask=False, compared_with="lite"),
        Net("portraitfcn_half", compared_with="fcn8s_half", has_position=True),
        Net("lite_portraitfcn", compared_with="lite", has_position=True),
    )
}


@dataclass(frozen=True)
class ConvertedNet:
    """Files of a net that was trained elsewhere and converted.

    Attributes
    ----------
    deploy, weights : Path
    remedy : str
        What to do where the weights are missing.
    """

    deploy: Path
    weights: Path
    remedy: str


#: Finds faces (`prototxt.netspec.face_detector`).
FACE_DETECTOR = ConvertedNet(
    DEFINITIONS / "face_detector/deploy.prototxt",
    SHIPPED_WEIGHTS / "face_detector.caffemodel",
    "restore it with `git checkout`",
)

_MAKE_POSE = f"make it with `{'python -m tools.convert_pose' if IS_INSTALLED else 'make'}`"
#: Finds people (`prototxt.netspec.pose`).
POSE_DETECTOR = ConvertedNet(
    DEFINITIONS / "pose_detector/deploy.prototxt",
    MADE_WEIGHTS / "pose_detector.caffemodel",
    _MAKE_POSE,
)
POSE_DETECTOR_SIDE = 224  # rows and columns of its input
#: Anchors of every cell of its output, by the cell's size in pixels.
POSE_ANCHORS = {8: 2, 16: 2, 32: 6}
#: Says which pixels around one person are that person's (`prototxt.netspec.pose`).
PERSON_MASK = ConvertedNet(
    DEFINITIONS / "person_mask/deploy.prototxt",
    MADE_WEIGHTS / "person_mask.caffemodel",
    _MAKE_POSE,
)
PERSON_MASK_SIDE = 256  # rows and columns of its input, the square around a person

MULTICLASS_WEIGHTS = MADE_WEIGHTS / "multiclass.caffemodel"
#: Says of every pixel of a photo of people what it shows (`prototxt.netspec.multiclass`), by the
#: rows and columns of its input.  It was trained for the least.
MULTICLASS = {
    side: ConvertedNet(
        DEFINITIONS / f"multiclass/deploy_{side}.prototxt",
        MULTICLASS_WEIGHTS,
        f"make it with `{'python -m tools.convert_multiclass' if IS_INSTALLED else 'make'}`",
    )
    for side in (256, 320)
}
#: Its classes behind the background, in the order of its output.
PERSON_CLASSES = ("hair", "body skin", "face skin", "clothes", "things")
