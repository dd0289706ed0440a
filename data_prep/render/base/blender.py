"""Blender through arrays: scenes, meshes, strands and node trees.

Everything made here can be parented, posed and shaded as in Blender itself.
Units are meters; z is up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import bpy
import numpy as np

from data_prep.render.base.geometry import Geometry
from data_prep.render.base.vectors import transform

# --- scene ----------------------------------------------------------------------


def fresh_scene() -> bpy.types.Scene:
    """An empty scene; all data of the one before is gone."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy.context.scene


def link(thing: bpy.types.Object) -> bpy.types.Object:
    """Put an object into the scene; return it."""
    bpy.context.scene.collection.objects.link(thing)
    return thing


def remove(thing: bpy.types.Object) -> None:
    """Take an object out of the scene and forget it."""
    bpy.data.objects.remove(thing, do_unlink=True)


# --- geometry -------------------------------------------------------------------


def _face_layout(faces: np.ndarray | Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Corner indices of all faces in a row, and where each face begins."""
    if isinstance(faces, np.ndarray) and faces.ndim == 2:
        starts = np.arange(len(faces)) * faces.shape[1]
        return faces.ravel().astype(np.int32), starts.astype(np.int32)
    sizes = np.fromiter((len(face) for face in faces), dtype=np.int64, count=len(faces))
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]]) if len(sizes) else sizes
    corners = np.fromiter((i for face in faces for i in face), np.int32, count=sizes.sum())
    return corners, starts.astype(np.int32)


def _set_attribute(data: bpy.types.ID, name: str, values: np.ndarray, domain: str) -> None:
    values = np.asarray(values, dtype=np.float32)
    if values.ndim == 1:
        data.attributes.new(name, "FLOAT", domain).data.foreach_set("value", values)
    elif values.shape[1] == 3:
        attribute = data.attributes.new(name, "FLOAT_VECTOR", domain)
        attribute.data.foreach_set("vector", np.ascontiguousarray(values).ravel())
    else:
        raise ValueError(f"attribute {name} has shape {values.shape}, not (N,) or (N, 3)")


def mesh_object(
    name: str,
    vertices: np.ndarray,
    faces: np.ndarray | Sequence[Sequence[int]],
    *,
    uv: np.ndarray | None = None,
    attributes: Mapping[str, np.ndarray] | None = None,
    material: bpy.types.Material | None = None,
    smooth: bool = True,
) -> bpy.types.Object:
    """A mesh in the scene.

    Parameters
    ----------
    name : str
    vertices : (N, 3) array
    faces : (M, 3) or (M, 4) int array, or a sequence of index sequences
        Counterclockwise seen from outside.
    uv : (C, 2) array, optional
        Texture coordinates ("UV") of every corner, in the order of the faces.
    attributes : mapping of str to (N,) or (N, 3) array, optional
        Per vertex; an Attribute node reads them as ``Fac`` or ``Vector``.
    material : Material, optional
    smooth : bool, default True
        Shade with interpolated normals.
    """
    corners, starts = _face_layout(faces)
    mesh = bpy.data.meshes.new(name)
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", np.asarray(vertices, dtype=np.float32).ravel())
    mesh.loops.add(len(corners))
    mesh.loops.foreach_set("vertex_index", corners)
    mesh.polygons.add(len(starts))
    mesh.polygons.foreach_set("loop_start", starts)
    if uv is not None:
        layer = mesh.uv_layers.new(name="UV")
        layer.data.foreach_set("uv", np.asarray(uv, dtype=np.float32).ravel())
    for key, values in (attributes or {}).items():
        _set_attribute(mesh, key, values, "POINT")
    mesh.update(calc_edges=True)
    mesh.validate()
    if smooth:
        mesh.shade_smooth()
    if material is not None:
        mesh.materials.append(material)
    return link(bpy.data.objects.new(name, mesh))


def strands_object(
    name: str,
    points: np.ndarray,
    radii: np.ndarray,
    *,
    sizes: np.ndarray | None = None,
    strand_attributes: Mapping[str, np.ndarray] | None = None,
    material: bpy.types.Material | None = None,
) -> bpy.types.Object:
    """Hair, fur or fuzz in the scene.

    Parameters
    ----------
    name : str
    points : (S, K, 3) array, or (P, 3) with `sizes`
        Catmull-Rom control points, root first.
    radii : (S, K) array, or (P,) with `sizes`
        Half the thickness in meters.
    sizes : (S,) int array, optional
        Points of each strand, where strands differ.
    strand_attributes : mapping of str to (S,) or (S, 3) array, optional
        One value a strand.
    material : Material, optional
    """
    points = np.asarray(points, dtype=np.float32)
    if sizes is None:
        sizes = np.full(points.shape[0], points.shape[1])
    curves = bpy.data.hair_curves.new(name)
    curves.add_curves(np.asarray(sizes, dtype=int).tolist())
    curves.attributes["position"].data.foreach_set("vector", points.ravel())
    curves.attributes.new("radius", "FLOAT", "POINT").data.foreach_set(
        "value", np.asarray(radii, dtype=np.float32).ravel()
    )
    for key, values in (strand_attributes or {}).items():
        _set_attribute(curves, key, values, "CURVE")
    if material is not None:
        curves.materials.append(material)
    return link(bpy.data.objects.new(name, curves))


def _read(collection: bpy.types.bpy_prop_collection, field: str, width: int) -> np.ndarray:
    """One field of every element, (N, `width`)."""
    values = np.empty(len(collection) * width, dtype=np.float32)
    collection.foreach_get(field, values)
    return values.reshape(-1, width).astype(np.float64)


def _triangles_of(mesh: bpy.types.Mesh) -> np.ndarray:
    """Vertices of every triangle, (T, 3)."""
    mesh.calc_loop_triangles()
    triangles = np.empty(len(mesh.loop_triangles) * 3, dtype=np.int32)
    mesh.loop_triangles.foreach_get("vertices", triangles)
    return triangles.reshape(-1, 3)


def surface_arrays(thing: bpy.types.Object) -> dict[str, np.ndarray]:
    """Triangles of an object as the viewport shows it, modifiers applied.

    Returns
    -------
    dict
        ``vertices`` (N, 3) and ``normals`` (N, 3) in world space, ``triangles``
        (T, 3), and every FLOAT or FLOAT_VECTOR vertex attribute by its name.
    """
    bpy.context.view_layer.update()
    evaluated = thing.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = evaluated.to_mesh()
    to_world = np.array(evaluated.matrix_world)
    normals = _read(mesh.vertex_normals, "vector", 3) @ np.linalg.inv(to_world[:3, :3])
    arrays = {
        "vertices": transform(to_world, _read(mesh.vertices, "co", 3)),
        "normals": normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12),
        "triangles": _triangles_of(mesh),
    }
    for attribute in mesh.attributes:
        if attribute.domain != "POINT" or attribute.name == "position":
            continue
        if attribute.data_type == "FLOAT":
            arrays[attribute.name] = _read(attribute.data, "value", 1)[:, 0]
        elif attribute.data_type == "FLOAT_VECTOR":
            arrays[attribute.name] = _read(attribute.data, "vector", 3)
    evaluated.to_mesh_clear()
    return arrays


def rendered_geometry(things: Iterable[bpy.types.Object]) -> Geometry:
    """Triangles and strands of objects as they are rendered, in world space."""
    things = list(things)
    for thing in things:  # only the viewport's levels can be read
        for modifier in thing.modifiers:
            if modifier.type == "SUBSURF":
                modifier.levels = modifier.render_levels
    bpy.context.view_layer.update()
    graph = bpy.context.evaluated_depsgraph_get()
    vertices, triangles, points, radii, sizes = [], [], [], [], []
    known = 0
    for thing in things:
        evaluated = thing.evaluated_get(graph)
        to_world = np.array(evaluated.matrix_world)
        if thing.type == "MESH":
            mesh = evaluated.to_mesh()
            vertices.append(transform(to_world, _read(mesh.vertices, "co", 3)))
            triangles.append(_triangles_of(mesh) + known)
            known += len(vertices[-1])
            evaluated.to_mesh_clear()
        elif thing.type == "CURVES":
            curves = evaluated.data
            positions = _read(curves.attributes["position"].data, "vector", 3)
            points.append(transform(to_world, positions))
            radii.append(_read(curves.attributes["radius"].data, "value", 1)[:, 0])
            ends = np.empty(len(curves.curves) + 1, dtype=np.int32)
            curves.curve_offset_data.foreach_get("value", ends)
            sizes.append(np.diff(ends))
    return Geometry(
        np.concatenate([np.empty((0, 3)), *vertices]),
        np.concatenate([np.empty((0, 3), np.int32), *triangles]),
        np.concatenate([np.empty((0, 3)), *points]),
        np.concatenate([np.empty(0), *radii]),
        np.concatenate([np.empty(0, np.int32), *sizes]),
    )


# --- color ----------------------------------------------------------------------


def rgba(color: Sequence[float]) -> tuple[float, float, float, float]:
    """An opaque color as sockets take it."""
    return float(color[0]), float(color[1]), float(color[2]), 1.0


def load_image(path: Path | str, color_space: str = "Non-Color") -> bpy.types.Image:
    """An image file for texture nodes; loaded once."""
    image = bpy.data.images.load(str(path), check_existing=True)
    image.colorspace_settings.name = color_space
    return image


def image_of(name: str, values: np.ndarray) -> bpy.types.Image:
    """An (H, W, 3) array of plain values in [0, 1] for texture nodes; made once a name."""
    if name in bpy.data.images:
        return bpy.data.images[name]
    height, width = values.shape[:2]
    image = bpy.data.images.new(name, width, height, float_buffer=True, is_data=True)
    pixels = np.ones((height, width, 4), dtype=np.float32)
    pixels[:, :, :3] = values
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    return image


# --- node trees -----------------------------------------------------------------

Value = object  # a socket, a node (its first output), a number or a color


class NodeTree:
    """Builds the nodes of a material, world or light.

    Wherever a value is wanted, a socket, a node (its first output), a number
    or a tuple will do:

        tree = NodeTree.of_material("skin")
        spots = tree.noise(tree.attribute("rest", "Vector"), scale=160)
        color = tree.mix(tree.multiply(spots, 0.3), light, dark)
        tree.surface(tree.principled(base_color=color, roughness=0.5))
    """

    def __init__(self, owner: bpy.types.Material | bpy.types.World | bpy.types.Light) -> None:
        owner.use_nodes = True
        self.owner = owner
        self._tree = owner.node_tree
        self._tree.nodes.clear()

    @classmethod
    def of_material(cls, name: str) -> NodeTree:
        """Nodes of a new material (`owner`)."""
        return cls(bpy.data.materials.new(name))

    def node(self, kind: str, inputs: Mapping | None = None, **properties) -> bpy.types.Node:
        """Any node: its type, values of inputs by name or index, properties."""
        node = self._tree.nodes.new(kind)
        for key, value in properties.items():
            setattr(node, key, value)
        for key, value in (inputs or {}).items():
            self.set(node.inputs[key], value)
        return node

    def set(self, socket: bpy.types.NodeSocket, value: Value) -> None:
        """Link or set one input."""
        if isinstance(value, bpy.types.Node):
            value = value.outputs[0]
        if isinstance(value, bpy.types.NodeSocket):
            self._tree.links.new(value, socket)
        elif isinstance(value, np.ndarray):
            socket.default_value = value.tolist()
        else:
            socket.default_value = value

    # values

    def attribute(self, name: str, output: str = "Fac") -> bpy.types.NodeSocket:
        """A vertex or strand attribute: output "Fac", "Vector" or "Color"."""
        return self.node("ShaderNodeAttribute", attribute_name=name).outputs[output]

    def uv(self) -> bpy.types.NodeSocket:
        """Texture coordinates of the mesh."""
        return self.node("ShaderNodeUVMap", uv_map="UV").outputs[0]

    def math(self, operation: str, *values: Value, clamp: bool = False) -> bpy.types.NodeSocket:
        """A Math node: "ADD", "MULTIPLY_ADD", "LESS_THAN"..."""
        inputs = dict(enumerate(values))
        node = self.node("ShaderNodeMath", inputs, operation=operation, use_clamp=clamp)
        return node.outputs[0]

    def multiply(self, *factors: Value) -> bpy.types.NodeSocket:
        """Product of two or more values."""
        product = factors[0]
        for factor in factors[1:]:
            product = self.math("MULTIPLY", product, factor)
        return product

    def mix(self, amount: Value, first: Value, second: Value, blend: str = "MIX"):
        """Color between `first` (amount 0) and `second` (amount 1)."""
        node = self.node("ShaderNodeMix", data_type="RGBA", blend_type=blend, clamp_factor=True)
        for index, value in ((0, amount), (6, first), (7, second)):
            self.set(node.inputs[index], value)
        return node.outputs[2]

    def ramp(self, value: Value, low: float, high: float) -> bpy.types.NodeSocket:
        """0 at `low`, 1 at `high`, straight between, clamped beyond."""
        return self.node("ShaderNodeMapRange", {0: value, 1: low, 2: high}).outputs[0]

    def mapping(self, vector: Value, **inputs: Value) -> bpy.types.NodeSocket:
        """A Mapping node: Location, Rotation (radians), Scale."""
        return self.node("ShaderNodeMapping", {"Vector": vector, **inputs}).outputs[0]

    def noise(
        self, vector: Value, scale: float, detail: float = 4.0, roughness: float = 0.55
    ) -> bpy.types.NodeSocket:
        """Fractal noise, about 0.5."""
        inputs = {"Vector": vector, "Scale": scale, "Detail": detail, "Roughness": roughness}
        return self.node("ShaderNodeTexNoise", inputs).outputs[0]

    def texture(self, path: Path | str, vector: Value, color_space: str = "Non-Color"):
        """Color of an image file."""
        image = load_image(path, color_space)
        return self.node("ShaderNodeTexImage", {0: vector}, image=image).outputs[0]

    def bump(self, height: Value, strength: float, distance: float) -> bpy.types.NodeSocket:
        """A normal perturbed by a height; `distance` in meters for a height of 1."""
        inputs = {"Strength": strength, "Distance": distance, "Height": height}
        return self.node("ShaderNodeBump", inputs).outputs[0]

    # shaders

    def principled(self, **inputs: Value) -> bpy.types.Node:
        """A Principled BSDF; `base_color` sets "Base Color", `ior` "IOR" and so on."""
        node = self.node("ShaderNodeBsdfPrincipled")
        by_name = {socket.name.lower().replace(" ", "_"): socket for socket in node.inputs}
        for name, value in inputs.items():
            self.set(by_name[name], value)
        return node

    def surface(self, shader: Value) -> bpy.types.Material:
        """Connect the surface; return the material."""
        self.set(self.node("ShaderNodeOutputMaterial").inputs["Surface"], shader)
        return self.owner


def simple_material(name: str, color: Sequence[float], **inputs: Value) -> bpy.types.Material:
    """A Principled material of one linear color."""
    tree = NodeTree.of_material(name)
    return tree.surface(tree.principled(base_color=rgba(color), **inputs))
