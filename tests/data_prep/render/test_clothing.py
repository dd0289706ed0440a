"""Clothes: what is worn, and that cloth covers the body."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from json_choices import assert_survives_json

from data_prep.render.base.geometry import (
    PolygonMesh,
    border_loops,
    grid_faces,
    quad_samples,
    vertex_normals,
)
from data_prep.render.base.randomness import generator
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.clothes.clothing import (
    HIDDEN_MARGIN,
    OUTFITS,
    STYLES,
    choose_clothing,
    make_layer,
)
from data_prep.render.clothes.drape import (
    SKIN_GAP,
    Cut,
    StandingBody,
    cloth_field,
    covered_vertices,
    cut_height,
    fold_heights,
    neckline_height,
    print_coordinates,
)
from data_prep.render.clothes.fabric import REPEATS, choose_fabric, color_tile, relief_tile
from data_prep.render.clothes.fibers import fiber_strands, scattered
from data_prep.render.people.body import bone_share
from data_prep.render.people.expression import build_subject, choose_pose
from data_prep.render.people.person import choose_person


@pytest.fixture(scope="module")
def people():
    return [choose_person(generator(3, number, "person")) for number in range(600)]


@pytest.fixture(scope="module")
def outfits(people):
    return [
        choose_clothing(generator(3, number, "clothing"), person)
        for number, person in enumerate(people)
    ]


@pytest.fixture(scope="module", params=[2, 5])
def body(request, mesh):
    rng = np.random.default_rng(request.param)
    return StandingBody(build_subject(mesh, choose_person(rng), choose_pose(rng)))


def skin_of(body):
    """Which vertices (N,) belong to the skin; the others are helpers of the mesh."""
    mesh = body.subject.mesh
    skin = np.zeros(len(body.vertices), bool)
    skin[np.unique(mesh.faces[mesh.faces_of("body")])] = True
    return skin


def layers_of(kind):
    """A garment of one kind, drawn by the choices until it comes up."""
    for number in range(2000):
        person = choose_person(generator(9, number, "person"))
        for layer in choose_clothing(generator(9, number, "clothing"), person).layers:
            if layer.kind == kind:
                return layer
    raise AssertionError(f"nobody wears a {kind}")


def test_the_same_stream_gives_the_same_clothes(people, outfits):
    assert choose_clothing(generator(3, 7, "clothing"), people[7]) == outfits[7]


def test_clothes_survive_json(outfits):
    assert_survives_json(outfits[0])


def test_every_outfit_is_worn_by_whom_it_is_for(people, outfits):
    worn = {"female": Counter(), "male": Counter()}
    for person, outfit in zip(people, outfits):
        worn[person.sex][outfit.outfit] += 1
    for name, (_, women, men) in OUTFITS.items():
        for sex, share in (("female", women), ("male", men)):
            count, total = worn[sex][name], sum(worn[sex].values())
            # Four standard deviations of a binomial draw.
            shares = sum(entry[1 if sex == "female" else 2] for entry in OUTFITS.values())
            p = share / shares
            assert abs(count - p * total) <= 4 * np.sqrt(total * p * (1 - p)) + 1e-9


def test_ease_widens_sleeves_below_the_deltoid_and_little_above(body):
    gap, ease = 0.004, 0.03
    tight, wide = (cloth_field(body, gap, room) for room in (0.0, ease))
    along = body.along_arm(body.points)
    arm = np.abs(body.points[:, 0]) > abs(body.arms[0][0][0])
    widened = (tight(body.points) - wide(body.points)) / ease
    upper, lower = arm & (along > 0.1) & (along < 0.3), arm & (along > 0.6) & (along < 0.75)
    assert widened[upper].mean() < 0.4
    assert widened[lower].mean() > 0.8


def test_a_wider_or_deeper_neckline_uncovers_more():
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.15, -0.16, -0.2], [0.15, 0.05, 0.06], (4000, 3))
    for kind in ("round", "v"):
        tight, wide, deep = (
            neckline_height(points, np.zeros(3), Cut(kind, depth, width, 0.97)) > 0
            for depth, width in ((0.0, 0.06), (0.0, 0.09), (0.08, 0.06))
        )
        assert tight.sum() < wide.sum() and not (tight & ~wide).any()
        assert tight.sum() < deep.sum() and not (tight & ~deep).any()


@pytest.mark.parametrize("kind", STYLES)
def test_cloth_lies_outside_the_skin_and_over_all_that_is_left_out(body, kind):
    choice = layers_of(kind)
    layer = make_layer(np.random.default_rng(1), body, choice)
    gaps = body.distance(layer.garment.standing)
    assert gaps.min() > 0.5 * SKIN_GAP
    assert np.median(gaps) < 0.06
    covered = covered_vertices(body, choice.cut)
    worn = covered & skin_of(body) & (body.vertices[:, 2] > body.neck[2] - 0.5)
    assert layer.garment.field(body.vertices[worn]).max() < 0
    assert cut_height(body, body.vertices[worn], choice.cut).max() < 0


@pytest.mark.parametrize("kind", ["t-shirt", "v-neck", "scoop", "shirt", "turtleneck"])
def test_no_skin_shows_through_posed_cloth(body, kind):
    """Skin that is rendered near an edge is behind the cloth or outside the edge."""
    choice = layers_of(kind)
    garment = make_layer(np.random.default_rng(1), body, choice).garment
    mesh, subject = body.subject.mesh, body.subject
    quads = mesh.faces[mesh.faces_of("body")]
    covered = covered_vertices(body, choice.cut)
    shown = quads[~covered[quads].all(axis=1)]
    bare = bone_share(mesh, ("head", "wrist", "finger", "metacarpal")) > 0.3
    shown = shown[~bare[shown].any(axis=1)]
    neck = subject.joint("joint-neck")
    low, high = neck + [-0.14, -0.25, -0.2], neck + [0.14, 0.15, 0.08]
    normals = vertex_normals(garment.shell.vertices, garment.shell.faces)
    cloth = SignedDistance.around([(garment.shell.vertices, normals)], low, high, 0.008)
    samples = quad_samples(subject.vertices, shown, 0.006)
    inside = cut_height(body, samples @ body.vertices, choice.cut) < -0.006
    points = samples @ subject.vertices
    inside &= ((points > low + 0.02) & (points < high - 0.02)).all(axis=1)
    assert inside.sum() > 50
    assert np.quantile(cloth(points[inside]), 0.995) < 0.0008


def test_skin_of_the_shoulders_is_left_out(body):
    """Bones of the head move it a little, which is no reason to keep it."""
    covered = covered_vertices(body, Cut("round", -0.005, 0.062, 0.97))
    x, _, z = (body.vertices - body.neck).T
    shoulders = skin_of(body) & (np.abs(x) > 0.10) & (np.abs(x) < 0.16) & (z > -0.15) & (z < 0)
    assert shoulders.sum() > 20
    assert covered[shoulders].all()


def test_what_a_jacket_hides_is_left_out(body):
    inner, outer = layers_of("open shirt"), layers_of("blazer")
    alone = make_layer(np.random.default_rng(1), body, inner)
    under = make_layer(np.random.default_rng(1), body, inner, [outer.cut])
    assert len(under.garment.shell.faces) < 0.6 * len(alone.garment.shell.faces)
    corners = cut_height(body, under.garment.standing, outer.cut)[under.garment.shell.faces]
    assert corners.max(axis=1).min() >= -HIDDEN_MARGIN
    assert len(under.hardware) < len(alone.hardware)


@pytest.mark.parametrize("kind", ["turtleneck", "shirt", "open shirt", "hoodie", "blazer", "coat"])
def test_collars_stay_at_the_neck_and_face_outward(body, kind):
    choice = layers_of(kind)
    if kind == "coat":
        choice = replace(choice, trim="fur")
    layer = make_layer(np.random.default_rng(1), body, choice)
    (collar,) = layer.cloth
    neck = body.subject.joint("joint-neck")
    assert np.abs(collar.vertices - neck).max() < 0.36
    assert body.distance(collar.attributes["standing"]).min() > -0.002
    if kind in ("blazer", "coat"):
        normals = vertex_normals(collar.vertices, collar.faces)
        outward = layer.garment.field.outward(collar.attributes["standing"])
        assert np.mean(np.einsum("nc,nc->n", normals, outward) > 0) > 0.6


@pytest.fixture(scope="module")
def bodies(mesh):
    """Three people as clothes see them."""
    return [
        StandingBody(
            build_subject(
                mesh,
                choose_person(generator(8, number, "person")),
                choose_pose(generator(8, number, "pose")),
            )
        )
        for number in range(3)
    ]


@pytest.mark.parametrize("kind", ["v-neck", "scoop", "shirt", "blazer"])
def test_a_garment_has_four_openings(bodies, kind):
    """Neck, two cuffs and the hem; a hole in the nape once took the collar's place."""
    choice = layers_of(kind)
    for body in bodies:
        garment = make_layer(np.random.default_rng(1), body, choice).garment
        loops = [loop for loop in border_loops(garment.shell.faces) if len(loop) > 6]
        assert len(loops) == 4


def test_draping_is_the_same_every_time(body):
    choice = layers_of("hoodie")
    first, second = (make_layer(np.random.default_rng(4), body, choice) for _ in range(2))
    assert np.array_equal(first.garment.shell.vertices, second.garment.shell.vertices)


def test_creases_fade_out_at_the_edges(body):
    points = body.points[::50]
    covered = np.linspace(-0.01, 0.2, len(points))
    folds = fold_heights(np.random.default_rng(0), body, points, covered)
    assert np.abs(folds).max() <= 1
    assert not folds[covered <= 0.012].any()
    assert folds[covered > 0.1].std() > 0.2


def test_a_print_does_not_stretch_much(body):
    """Meters of the print are meters of the cloth, within a factor of about two."""
    choice = layers_of("t-shirt")
    garment = make_layer(np.random.default_rng(1), body, replace(choice, folds=0.0)).garment
    faces = garment.shell.faces
    print_places = print_coordinates(body, garment.standing, faces).reshape(-1, 3, 2)
    edges = print_places[:, 1:] - print_places[:, :1]
    printed = 0.5 * np.abs(np.linalg.det(edges))
    a, b, c = (garment.standing[faces[:, k]] for k in range(3))
    real = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    front = garment.standing[faces].mean(axis=1)
    front = (front[:, 1] < body.neck[1] - 0.05) & (np.abs(front[:, 0]) < 0.12)
    ratio = printed[front].sum() / real[front].sum()
    assert 0.6 < ratio < 1.5


def test_prints_run_along_bent_sleeves_without_meeting_in_a_point(body):
    choice = replace(layers_of("sweater"), folds=0.0)
    garment = make_layer(np.random.default_rng(1), body, choice).garment
    faces = garment.shell.faces
    places = print_coordinates(body, garment.standing, faces).reshape(-1, 3, 2)
    middle = garment.standing[faces].mean(axis=1)
    along = body.along_arm(middle)
    sleeve = (along > 0.15) & (along < 0.8) & (np.abs(middle[:, 0]) > body.arms[0][0][0])
    around = np.ptp(places[sleeve, :, 0], axis=1)
    edges = np.ptp(garment.standing[faces[sleeve]], axis=1).max(axis=1)
    assert np.percentile(around / edges, 99) < 3


@pytest.mark.parametrize("pattern", REPEATS)
def test_tiles_of_cloth_have_no_seam(pattern):
    choice = choose_fabric(np.random.default_rng(2), {"knit": 1, "woven": 1}, {pattern: 1})
    for tile in (
        color_tile(np.random.default_rng(3), choice).sum(axis=2),
        relief_tile(np.random.default_rng(3), choice),
    ):
        assert tile.min() >= 0
        for axis in (0, 1):
            steps = np.abs(np.diff(tile, axis=axis, append=np.take(tile, [0], axis=axis)))
            across = steps.mean(axis=1 - axis)
            assert across[-1] <= 1.3 * across[:-1].max()


def test_the_colors_of_a_pattern_appear_in_their_shares():
    choice = choose_fabric(np.random.default_rng(2), {"jersey": 1}, {"stripes": 1})
    choice = replace(choice, colors=("000000", "ffffff", "ff0000"), balance=0.3)
    tile = color_tile(np.random.default_rng(3), choice)
    assert np.mean(tile[..., 0] > 0.5) == pytest.approx(0.3, abs=0.02)


def test_fibers_leave_the_cloth():
    y, x = np.mgrid[:8, :8] / 8.0
    flat = PolygonMesh(np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1), grid_faces(8, 8))
    rng = np.random.default_rng(1)
    roots, normals = scattered(rng, flat, 500)
    strands = fiber_strands(rng, roots, normals, 0.02, disorder=2.0, droop=0.0)
    assert (strands[:, 1, 2] > strands[:, 0, 2]).all()
    lengths = np.linalg.norm(np.diff(strands, axis=1), axis=2).sum(axis=1)
    assert np.median(lengths) == pytest.approx(0.02, rel=0.1)


def test_fibers_grow_where_the_weight_is():
    y, x = np.mgrid[:20, :20] / 20.0
    flat = PolygonMesh(np.stack([x.ravel(), y.ravel(), 0 * x.ravel()], axis=1), grid_faces(20, 20))
    roots, _ = scattered(np.random.default_rng(1), flat, 400, (flat.vertices[:, 0] < 0.5) * 1.0)
    assert roots[:, 0].max() <= 0.5
