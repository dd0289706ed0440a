"""The camera: where it stands, and what it sees where."""

import math
from dataclasses import replace

import numpy as np
import pytest

from data_prep.datasets.dataset import FRAME
from data_prep.render.base.randomness import generator
from data_prep.render.shot.camera import HEAD_HEIGHT, choose_camera, direction, view_of

HEIGHT, WIDTH = FRAME
FACE = np.array([0.05, -0.1, 0.7])


@pytest.fixture
def straight():
    """A camera right in front of the face, which is in the middle of the frame."""
    choice = choose_camera(generator(0, 0, "camera"))
    return replace(choice, azimuth=0.0, elevation=0.0, offset=(0.0, 0.0), roll=0.0)


def test_directions():
    np.testing.assert_allclose(direction(0, 0), [0, -1, 0], atol=1e-12)
    np.testing.assert_allclose(direction(90, 0), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(direction(180, 0), [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(direction(30, 90), [0, 0, 1], atol=1e-12)


def test_the_face_is_in_the_middle(straight):
    pixels = view_of(straight, FACE).project(FACE[None])
    np.testing.assert_allclose(pixels, [[(WIDTH - 1) / 2, (HEIGHT - 1) / 2]], atol=1e-9)


def test_right_is_right_and_up_is_up(straight):
    right, up = view_of(straight, FACE).project(FACE + [[0.1, 0, 0], [0, 0, 0.1]])
    assert right[0] > WIDTH / 2 and right[1] == pytest.approx((HEIGHT - 1) / 2)
    assert up[1] < HEIGHT / 2 and up[0] == pytest.approx((WIDTH - 1) / 2)


@pytest.mark.parametrize("number", range(5))
def test_a_head_takes_its_share_of_the_frame(straight, number):
    drawn = choose_camera(generator(1, number, "camera"))
    choice = replace(straight, distance=drawn.distance, head_share=drawn.head_share)
    half = np.array([0, 0, HEAD_HEIGHT / 2])
    chin, crown = view_of(choice, FACE).project(np.array([FACE - half, FACE + half]))
    assert chin[1] - crown[1] == pytest.approx(choice.head_share * HEIGHT)


def test_offsets_move_the_face(straight):
    choice = replace(straight, offset=(0.05, 0.1))
    x, y = view_of(choice, FACE).project(FACE[None])[0]
    assert x == pytest.approx((WIDTH - 1) / 2 + 0.05 * HEIGHT)
    assert y == pytest.approx((HEIGHT - 1) / 2 - 0.1 * HEIGHT)


def test_roll_turns_the_picture(straight):
    view = view_of(replace(straight, roll=3.0), FACE)
    center, above = view.project(np.array([FACE, FACE + [0, 0, 0.1]]))
    lean = math.degrees(math.atan2(above[0] - center[0], center[1] - above[1]))
    assert lean == pytest.approx(3.0)


def test_faces_are_of_similar_size():
    shares = [choose_camera(generator(0, k, "camera")).head_share for k in range(200)]
    assert max(shares) / min(shares) < 1.4


@pytest.mark.render
def test_blender_sees_the_same():
    import bpy
    from bpy_extras.object_utils import world_to_camera_view
    from mathutils import Vector

    from data_prep.render.base.blender import fresh_scene
    from data_prep.render.shot.camera_rig import build_camera

    choice = choose_camera(generator(0, 7, "camera"))
    view = view_of(choice, FACE)
    scene = fresh_scene()
    scene.render.resolution_x, scene.render.resolution_y = WIDTH, HEIGHT
    camera = build_camera(choice, view, FACE)
    bpy.context.view_layer.update()
    points = FACE + generator(0, 0, "points").uniform(-0.15, 0.15, (20, 3))
    seen = np.array([world_to_camera_view(scene, camera, Vector(p)) for p in points])
    expected = np.stack([seen[:, 0] * WIDTH - 0.5, (1 - seen[:, 1]) * HEIGHT - 0.5], axis=1)
    np.testing.assert_allclose(view.project(points), expected, atol=0.01)
