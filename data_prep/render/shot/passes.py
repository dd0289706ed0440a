"""The color pass of Cycles, and coverage.

Coverage is the share of a pixel's area, seen through the lens, that is
foreground (box filter), so both share filter, lens and geometry.  The color pass
has few samples and a denoiser, and its own coverage is too coarse for hair; the
matte is counted by `data_prep.render.shot.coverage`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import bpy
import cv2
import numpy as np

from data_prep.common.errors import InputError
from data_prep.render.base.blender import rendered_geometry
from data_prep.render.shot.camera_rig import view_of
from data_prep.render.shot.coverage import coverage
from data_prep.render.shot.quality import Quality


@contextmanager
def _quiet() -> Iterator[None]:
    """Blender prints every step to standard output, below Python's `sys.stdout`."""
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def _render(scene: bpy.types.Scene) -> np.ndarray:
    """Render; (H, W, 4) float32, premultiplied linear RGB and coverage."""
    os.environ["OPENCV_IO_ENABLE_OPENEXR"] = "1"  # read by OpenCV at its first EXR file
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pass.exr"
        scene.render.filepath = str(path)
        with _quiet():
            bpy.ops.render.render(write_still=True)
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if pixels is None:
        raise InputError(f"The render wrote no picture to {folder}; free some space there.")
    return np.ascontiguousarray(pixels[:, :, [2, 1, 0, 3]])


def render_color(scene: bpy.types.Scene, quality: Quality, threads: int) -> np.ndarray:
    """Denoised color of the foreground.

    Returns
    -------
    (H, W, 4) float32 ndarray
        Premultiplied linear RGB, and the coverage it was premultiplied by.
    """
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_y, render.resolution_x = quality.shape
    render.resolution_percentage = 100
    render.film_transparent = True
    render.threads_mode = "FIXED"
    render.threads = threads
    render.image_settings.file_format = "OPEN_EXR"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "32"
    render.image_settings.exr_codec = "NONE"
    cycles.device = "CPU"
    cycles.seed = 0
    cycles.samples = quality.color_samples
    cycles.use_adaptive_sampling = False  # below 8 samples it finishes no pixel
    cycles.pixel_filter_type = "BOX"
    cycles.use_auto_tile = False
    cycles.film_transparent_glass = False
    cycles.caustics_reflective = cycles.caustics_refractive = False
    # Together a sixth faster in dense hair; few lamps need no tree.
    cycles.debug_use_compact_bvh = False
    cycles.use_light_tree = False
    scene.cycles_curves.shape = "RIBBONS"
    scene.cycles_curves.subdivisions = 1
    cycles.use_denoising = True
    cycles.denoiser = "OPENIMAGEDENOISE"
    cycles.denoising_input_passes = "RGB_ALBEDO_NORMAL"
    cycles.denoising_prefilter = "NONE"  # a filter would smear the guides of hair
    cycles.denoising_quality = "BALANCED"
    cycles.max_bounces = 4
    cycles.diffuse_bounces = 1
    cycles.glossy_bounces = 2
    cycles.transmission_bounces = 3
    cycles.transparent_max_bounces = 4
    cycles.sample_clamp_direct = 20
    cycles.sample_clamp_indirect = 4
    return _render(scene)


def render_matte(scene: bpy.types.Scene, quality: Quality, threads: int) -> np.ndarray:
    """Coverage of the foreground.

    Returns
    -------
    (H, W) float32 ndarray
        0 to 1.
    """
    # What is seen through clear glass decides the matte.
    opaque = [thing for thing in scene.objects if not thing.get("clear")]
    geometry = rendered_geometry(opaque)
    view, lens = view_of(scene.camera)
    return coverage(geometry, view, lens, quality.shape, quality.lens_positions, threads)
