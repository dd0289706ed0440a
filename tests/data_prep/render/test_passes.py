"""The two passes against what is known of simple scenes."""

import math

import numpy as np
import pytest

from data_prep.render.shot.quality import Quality

pytestmark = pytest.mark.render

SMALL = Quality(scale=0.1, color_samples=16, lens_positions=64)


@pytest.fixture
def disk_scene():
    """A sphere of radius 0.1 and a lamp, seen from 1.5 m; its radius in pixels."""
    import bpy
    from mathutils import Matrix

    from data_prep.render.base.blender import NodeTree, fresh_scene, link, simple_material

    scene = fresh_scene()
    bpy.ops.mesh.primitive_uv_sphere_add(radius=0.1, segments=128, ring_count=64)
    bpy.context.object.data.materials.append(simple_material("gray", (0.5, 0.5, 0.5)))
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.lens_unit = "VERTICAL", "FOV"
    camera.angle = 2 * math.atan(0.2 / 1.5)
    placed = link(bpy.data.objects.new("camera", camera))
    placed.matrix_world = Matrix.Translation((0, -1.5, 0)) @ Matrix.Rotation(math.pi / 2, 4, "X")
    scene.camera = placed
    lamp = bpy.data.lights.new("lamp", "AREA")
    lamp.energy = 20
    link(bpy.data.objects.new("lamp", lamp)).location = (0, -1, 1)
    scene.world = bpy.data.worlds.new("world")
    NodeTree(scene.world)
    # The outline of a sphere is where rays touch it.
    radius = math.tan(math.asin(0.1 / 1.5)) / (0.2 / 1.5) * SMALL.shape[0] / 2
    return scene, radius


def exact_disk(radius, shape, supersampling=32):
    """Coverage of a centered disk, by counting points."""
    height, width = (n * supersampling for n in shape)
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x + 0.5 - width / 2, y + 0.5 - height / 2) < radius * supersampling
    blocks = (shape[0], supersampling, shape[1], supersampling)
    return inside.reshape(blocks).mean(axis=(1, 3))


def test_the_matte_is_the_covered_area(disk_scene):
    from data_prep.render.shot.passes import render_matte

    scene, radius = disk_scene
    matte = render_matte(scene, SMALL, threads=1)
    exact = exact_disk(radius, SMALL.shape)
    edge = (exact > 0) & (exact < 1)
    assert np.abs(matte - exact)[edge].mean() < 0.01
    assert np.abs(matte - exact)[~edge].max() < 0.02


def test_color_and_matte_agree_and_light_comes_back(disk_scene):
    from data_prep.render.shot.passes import render_color, render_matte

    scene, _ = disk_scene
    first = render_color(scene, SMALL, threads=1)
    matte = render_matte(scene, SMALL, threads=1)
    second = render_color(scene, SMALL, threads=1)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first[:, :, 3] - matte).mean() < 0.01
    assert first[matte == 1][:, :3].mean() > 0.01
    assert first[matte == 0].max() < 5e-3  # the denoiser is not exact


def test_threads_change_no_pixel(disk_scene):
    from data_prep.render.shot.passes import render_color, render_matte

    scene, _ = disk_scene
    for render in (render_color, render_matte):
        np.testing.assert_array_equal(render(scene, SMALL, 1), render(scene, SMALL, 2))
