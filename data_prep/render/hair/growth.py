"""Growing a head of hair on a posed head, without Blender."""

from __future__ import annotations

import numpy as np

from data_prep.render.base.geometry import PolygonMesh
from data_prep.render.base.signed_distance import SignedDistance
from data_prep.render.base.vectors import transform
from data_prep.render.hair.cuts import grow_loose, grow_short, grow_stubble, grow_volume
from data_prep.render.hair.shaping import UNDER_HAT, HairCap, Scalp, prepare_scalp
from data_prep.render.hair.strands import Strands, lengths_of
from data_prep.render.hair.styles import HairChoice
from data_prep.render.hair.tied import grow_ropes, grow_tied

_GROW = {
    "stubble": grow_stubble,
    "short": grow_short,
    "loose": grow_loose,
    "volume": grow_volume,
    "tied": grow_tied,
    "ropes": grow_ropes,
}


def _under_hat(strands: Strands, scalp: Scalp, covered: HairCap, head: np.ndarray) -> Strands:
    """Press to the skin what a hat encloses; drop hairs that it hides altogether.

    Parameters
    ----------
    strands : Strands
        In the head's frame.
    covered : HairCap
    """
    points = strands.points.astype(np.float64)
    under = covered(transform(head, points.reshape(-1, 3))).reshape(points.shape[:2])
    seen = ~under.all(axis=1)
    points, under = points[seen], under[seen]
    # Below the brim hair comes away from the head little by little.
    order = np.arange(points.shape[1])
    last = np.where(under, order, -1).max(axis=1)
    step = lengths_of(points) / (len(order) - 1)
    free = np.maximum(order - last[:, None], 0) * step[:, None]
    limit = np.where((last < 0)[:, None], np.inf, UNDER_HAT + 0.5 * free)
    too_far = scalp.field(points) - limit
    pressed = too_far > 0
    points[pressed] -= scalp.field.outward(points[pressed]) * too_far[pressed][:, None]
    return Strands(
        points.astype(np.float32), strands.radius[seen], strands.melanin[seen], strands.tip
    )


def grow_hair(
    rng: np.random.Generator,
    choice: HairChoice,
    head: np.ndarray,
    skin: PolygonMesh,
    collision: SignedDistance,
    hair_cap: HairCap | None = None,
) -> list[Strands]:
    """Grow a head of hair on a posed head.

    Parameters
    ----------
    head, skin, collision, hair_cap
        As in `prepare_scalp`.

    Returns
    -------
    list of Strands
        Posed; empty for a bald head.
    """
    if choice.family == "none":
        return []
    scalp = prepare_scalp(rng, choice, head, skin, collision, hair_cap)
    grown = _GROW[choice.family](rng, choice, scalp)
    if hair_cap is not None:
        grown = [_under_hat(strands, scalp, hair_cap, head) for strands in grown]
    return [strands.moved(head) for strands in grown if len(strands)]
