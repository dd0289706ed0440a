"""The parametric body: files, targets, blending, skinning."""

import gzip

import numpy as np
import pytest

from data_prep.common.errors import InputError
from data_prep.render.base.vectors import rotation, smooth_step, transform, unit
from data_prep.render.people.body import (
    AVERAGE_ANCESTRY,
    age_weights,
    macro_targets,
    pose,
    read_base_mesh,
    rest_coordinates,
    to_meters,
)


def test_the_base_mesh_stands_upright_and_faces_minus_y(mesh):
    height = np.ptp(mesh.vertices[:, 2])
    assert 1.5 < height < 1.9
    nose, back = mesh.joint(mesh.vertices, "helper-l-eye"), mesh.joint(mesh.vertices, "joint-head")
    assert nose[1] < back[1]
    assert mesh.joint(mesh.vertices, "helper-l-eye")[0] > 0


def test_faces_index_vertices_and_texture_coordinates(mesh):
    assert mesh.faces.shape == mesh.uv_faces.shape == (len(mesh.face_groups), 4)
    assert mesh.faces.max() < len(mesh.vertices)
    assert mesh.uv_faces.max() < len(mesh.uv)
    assert set(mesh.face_groups[mesh.faces_of("helper-tongue")]) == {"helper-tongue"}


def test_decimeters_with_y_up_become_meters_with_z_up():
    np.testing.assert_allclose(to_meters(np.array([1.0, 2.0, 3.0])), [0.1, -0.3, 0.2])


@pytest.mark.parametrize("axis", [(0, 0, 1), (1, 2, -1), (0, -1, 0)])
def test_a_rotation_is_orthogonal_and_keeps_its_axis(axis):
    matrix = rotation(axis, 37.0)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(matrix) == pytest.approx(1.0)
    np.testing.assert_allclose(matrix @ unit(np.array(axis, float)), unit(np.array(axis, float)))
    assert np.trace(matrix) == pytest.approx(1 + 2 * np.cos(np.radians(37.0)))


def test_a_quarter_turn_about_z_takes_x_to_y():
    np.testing.assert_allclose(rotation((0, 0, 1), 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_smooth_step_works_in_both_directions():
    np.testing.assert_allclose(smooth_step(0, 2, np.array([-1, 0, 1, 2, 3])), [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(smooth_step(2, 0, np.array([0.0, 1.0, 2.0])), [1, 0.5, 0])


@pytest.mark.parametrize(
    "age, stages", [(0.0, {"baby"}), (0.1, {"baby", "child"}), (0.4, {"child", "young"})]
)
def test_ages_blend_neighboring_stages(age, stages):
    weights = {stage: weight for stage, weight in age_weights(age).items() if weight > 0}
    assert sum(weights.values()) == pytest.approx(1)
    assert set(weights) == stages


@pytest.mark.parametrize("sex, age, muscle", [(0.0, 0.5, 0.5), (0.3, 0.7, 0.2), (1.0, 0.3, 0.9)])
def test_the_parts_of_a_body_shape_sum_to_one(sex, age, muscle):
    weights = macro_targets(sex, age, muscle, 0.4, (0.2, 0.3, 0.5))

    def total(prefix):
        return sum(weight for name, weight in weights.items() if name.startswith(prefix))

    universal = total("macrodetails/universal")
    assert universal == pytest.approx(1, abs=0.01)
    assert total("macrodetails/") - universal == pytest.approx(1, abs=0.01)


def test_every_target_of_every_adult_exists(mesh):
    for sex in (0.0, 0.5, 1.0):
        for age in (0.3, 0.6, 1.0):
            names = macro_targets(sex, age, 0.3, 0.7, AVERAGE_ANCESTRY, 0.8)
            assert set(names) <= set(mesh.target_paths)


def test_targets_add_linearly(mesh):
    name = "nose/nose-hump-incr"
    once = mesh.morph(mesh.vertices, {name: 0.3}) - mesh.vertices
    twice = mesh.morph(mesh.vertices, {name: 0.6}) - mesh.vertices
    np.testing.assert_allclose(twice, 2 * once, atol=1e-12)
    assert 1e-4 < np.abs(once).max() < 0.01
    assert np.count_nonzero(once.any(axis=1)) < 1000  # only the nose


def test_morphing_leaves_its_input_alone(mesh):
    before = mesh.vertices.copy()
    mesh.morph(mesh.vertices, {"chin/chin-width-incr": 1.0})
    np.testing.assert_array_equal(mesh.vertices, before)


def test_an_unknown_target_is_named(mesh):
    with pytest.raises(InputError, match="nose/no-such-nose"):
        mesh.morph(mesh.vertices, {"nose/no-such-nose": 1.0})


def test_missing_data_is_named(tmp_path):
    with pytest.raises(InputError, match="base.obj"):
        read_base_mesh(tmp_path / "nowhere")


def test_damaged_data_is_named(tmp_path, mesh):
    path = tmp_path / "broken.target.gz"
    path.write_bytes(gzip.compress(b"1 2 3 4\n")[:-6])
    mesh_with_it = read_base_mesh(mesh.directory)
    paths = {**mesh_with_it.target_paths, "x/broken": path}
    mesh_with_it.__dict__["target_paths"] = paths
    with pytest.raises(InputError, match="broken.target.gz"):
        mesh_with_it.morph(mesh.vertices, {"x/broken": 1.0})


def test_no_rotation_leaves_the_body_as_it_is(mesh):
    posed, bones = pose(mesh, mesh.vertices, {})
    np.testing.assert_allclose(posed, mesh.vertices, atol=1e-12)
    np.testing.assert_array_equal(bones["head"], np.eye(4))


def test_turning_the_head_moves_the_crown_rigidly_and_leaves_the_chest(mesh):
    turned = {"head": rotation((0, 0, 1), 25.0)}
    posed, bones = pose(mesh, mesh.vertices, turned)
    crown = mesh.vertices[:, 2] > 0.80
    np.testing.assert_allclose(
        posed[crown], transform(bones["head"], mesh.vertices[crown]), atol=1e-6
    )
    chest = mesh.vertex_groups["joint-spine-2"]
    np.testing.assert_allclose(posed[chest], mesh.vertices[chest], atol=1e-9)


def test_a_child_bone_follows_its_parents(mesh):
    turns = {"upperarm01.L": rotation((0, 1, 0), 40.0), "lowerarm01.L": rotation((0, 0, 1), 30.0)}
    _, bones = pose(mesh, mesh.vertices, turns)
    elbow = mesh.vertices[mesh.bones["lowerarm01.L"].head].mean(axis=0)
    # The elbow is where the upper arm puts it: the forearm turns about it.
    np.testing.assert_allclose(
        transform(bones["lowerarm01.L"], elbow), transform(bones["upperarm02.L"], elbow), atol=1e-9
    )


def test_skinning_weights_sum_to_one_on_the_skin(mesh):
    sums = np.asarray(mesh.weights.sum(axis=1)).ravel()
    skin = np.unique(mesh.faces[mesh.faces_of("body")])
    np.testing.assert_allclose(sums[skin], 1.0, atol=1e-9)


def test_rest_coordinates_are_nearly_symmetric(mesh):
    rest = rest_coordinates(mesh)
    left, right = mesh.joint(rest, "helper-l-eye"), mesh.joint(rest, "helper-r-eye")
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1e-4)
