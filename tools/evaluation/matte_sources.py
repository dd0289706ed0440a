"""Where the mattes that are measured come from: a model, a segmenter, or files.

A source is sent to worker processes; what it loads, it loads in each of them when first asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from data_prep.common.digests import content_key, sha256_of
from data_prep.common.errors import InputError
from data_prep.common.pictures import read_alpha
from tools.evaluation.errors_cache import mattes_key
from tools.evaluation.methods import net_method
from tools.evaluation.metrics import METRICS_VERSION
from tools.evaluation.truths import PhotoTruth
from tools.matting.models import MODELS
from tools.matting.photo_view import resized
from tools.matting.predictor import Predictor
from tools.matting.segmenter import Segmenter
from tools.matting.segmenter_settings import SegmenterSettings
from tools.matting.session import Matte, MattingSession
from tools.outputs.folders import Companions, some


class MatteSource(Protocol):
    """What gives a matte for each photo; can be pickled.

    Attributes
    ----------
    name : str
        For titles and the names of folders.
    """

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> dict[str, Any]:
        """Entries of a report, in types that JSON holds."""

    @property
    def key(self) -> str:
        """Digest of everything, besides the photo, that the errors of the mattes depend on."""

    def load(self) -> None:
        """Load what mattes take, if that is not done; `InputError` if it cannot be."""

    def files_for(self, truth: PhotoTruth) -> list[Path]:
        """Files of this photo alone that its matte is made from, besides the photo."""

    def matte(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        """Matte of a photo, (H, W, 3) uint8 BGR."""


@dataclass(frozen=True)
class _Predicted(ABC):
    """Mattes that a session gives, which is loaded once in a process."""

    mu: float | None

    @abstractmethod
    def _open(self) -> MattingSession:
        """The session, with what it takes loaded."""

    @cached_property
    def _session(self) -> MattingSession:
        return self._open()

    def __getstate__(self) -> dict[str, Any]:
        # Without what is loaded: another process loads it itself.
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def files_for(self, truth: PhotoTruth) -> list[Path]:
        return []

    def load(self) -> None:
        _ = self._session

    def matte(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        return self._session.matte(photo)

    def _key(self, name: str, settings: Mapping[str, object], files: Sequence[Path]) -> str:
        mu = {} if self.mu is None else {"nonlocal": self.mu}
        return mattes_key(name, {**settings, **mu}, files)


@dataclass(frozen=True)
class ModelMattes(_Predicted):
    """Mattes by one of our models.

    Attributes
    ----------
    mu : float or None
        See `tools.matting.session.MattingSession`.
    model : str
        Key of `tools.matting.models.MODELS`; its files are used where none is given.
    deploy, weights, shape_mask : Path or None
    """

    model: str
    deploy: Path | None = None
    weights: Path | None = None
    shape_mask: Path | None = None

    @property
    def name(self) -> str:
        return self.model

    def _open(self) -> MattingSession:
        predictor = Predictor(self.model, self.deploy, self.weights, self.shape_mask)
        return MattingSession(predictor, self.mu)

    @property
    def about(self) -> dict[str, Any]:
        weights = self.weights or MODELS[self.model].weights
        return {
            "model": self.model,
            "deploy": str(self.deploy or MODELS[self.model].deploy),
            "weights": str(weights),
            "weights_sha256": sha256_of(weights),
            "nonlocal": self.mu,
        }

    @property
    def key(self) -> str:
        given = self.weights, self.deploy, self.shape_mask
        method = net_method(self.model, self.model, self.model, *given)
        return self._key(method.name, method.settings, method.files)


@dataclass(frozen=True)
class SegmenterMattes(_Predicted):
    """Mattes by any segmenter's masks and our solve.

    Attributes
    ----------
    mu : float or None
        See `tools.matting.session.MattingSession`.
    settings : SegmenterSettings
    """

    settings: SegmenterSettings

    @property
    def name(self) -> str:
        return self.settings.path.stem

    def _open(self) -> MattingSession:
        return MattingSession(Segmenter(self.settings), self.mu)

    @property
    def about(self) -> dict[str, Any]:
        return {
            "segmenter": str(self.settings.path),
            "segmenter_sha256": sha256_of(self.settings.path),
            "nonlocal": self.mu,
        }

    @property
    def key(self) -> str:
        settings = asdict(self.settings)
        files = [path for name in ("path", "prototxt") if (path := settings.pop(name))]
        return self._key("segmenter", settings, files)


@dataclass(frozen=True)
class GivenMattes:
    """Mattes of a folder, anybody's.

    Attributes
    ----------
    folder : Path
    files : mapping of str to Path
        By the photo's name.
    """

    folder: Path
    files: Mapping[str, Path]

    @classmethod
    def of(cls, folder: Path, truths: Sequence[PhotoTruth]) -> GivenMattes:
        """The files that are called as the photos are.

        Parameters
        ----------
        folder : Path
            With ``NAME.png``, ``NAME_alpha.png`` or ``NAME_matte.png``: gray, of any depth, or
            cut-outs, whose alpha channel is taken.
        truths : sequence of PhotoTruth

        Raises
        ------
        InputError
            If a photo has none, several, an unreadable one, or one whose size is neither the
            photo's nor the truth's: all that are missing are named in one sentence, all of
            another size in one, and the others one by one.
        """
        companions = Companions(folder, "alpha", [Path(each.name) for each in truths])
        files: dict[str, Path] = {}
        missing, sizes, faults = [], [], []
        for each in truths:
            target = Path(each.name)
            if not companions.candidates(target):
                missing.append(each.name)
                continue
            try:
                files[each.name] = path = companions.find(target, str(each.pair.photo))
                wanted = {each.read_photo().shape[:2], each.read_truth().shape}
                rows, columns = read_alpha(path).shape
            except InputError as error:
                faults.append(str(error))
                continue
            if (rows, columns) not in wanted:
                names = " or ".join(f"{right}x{down}" for down, right in sorted(wanted))
                sizes.append(f"{path.name} is {columns}x{rows} in place of {names}")
        if missing:
            faults.insert(
                0,
                f"{folder} holds no matte for {some(missing)}; it would be called "
                f"{missing[0]}.png or {missing[0]}_alpha.png.",
            )
        if sizes:
            faults.append(f"{folder} holds mattes of other sizes: {some(sizes)}; scale them.")
        if faults:
            raise InputError("\n".join(faults))
        return cls(folder, files)

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def about(self) -> dict[str, Any]:
        return {"mattes": str(self.folder)}

    @property
    def key(self) -> str:
        return content_key("given mattes", METRICS_VERSION)

    def load(self) -> None:
        pass

    def files_for(self, truth: PhotoTruth) -> list[Path]:
        return [self.files[truth.name]]

    def matte(self, truth: PhotoTruth, photo: np.ndarray) -> Matte:
        alpha = read_alpha(self.files[truth.name])
        return MattingSession(None).matte(resized(photo, alpha.shape), alpha=alpha)
