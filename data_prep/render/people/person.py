"""Who is portrayed: the distribution of people, and the shape of a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data_prep.render.base.randomness import clipped_normal, pick
from data_prep.render.people.body import BaseMesh, macro_targets

# Ages in years and their shares: mostly young and middle-aged, as on photo sites.
AGE_BANDS = ((15, 20, 0.10), (20, 35, 0.42), (35, 50, 0.26), (50, 65, 0.15), (65, 80, 0.07))

# Overall head shapes: share, and the largest weight that still looks like a person.
HEAD_SHAPES = {
    "oval": (0.34, 0.65),
    "round": (0.18, 0.5),
    "invertedtriangular": (0.18, 0.9),
    "diamond": (0.12, 0.45),
    "rectangular": (0.10, 0.4),
    "triangular": (0.04, 0.2),
    "square": (0.04, 0.25),
}

# Features that a pair of targets, "decr" and "incr", makes smaller or larger:
# the standard deviation of the weight.
FEATURES = {
    "head/head-scale-horiz": 0.15,
    "head/head-scale-vert": 0.10,
    "head/head-scale-depth": 0.12,
    "head/head-back-scale-depth": 0.10,
    "head/head-fat": 0.12,
    "forehead/forehead-temple": 0.25,
    "forehead/forehead-scale-vert": 0.06,
    "forehead/forehead-nubian": 0.05,
    "nose/nose-scale-depth": 0.15,
    "nose/nose-scale-horiz": 0.26,
    "nose/nose-scale-vert": 0.22,
    "nose/nose-hump": 0.19,
    "nose/nose-volume": 0.19,
    "nose/nose-width1": 0.22,
    "nose/nose-width2": 0.22,
    "nose/nose-width3": 0.22,
    "nose/nose-point-width": 0.30,
    "nose/nose-flaring": 0.19,
    "nose/nose-greek": 0.15,
    "nose/nose-septumangle": 0.15,
    "nose/nose-nostrils-width": 0.19,
    "mouth/mouth-scale-horiz": 0.30,
    "mouth/mouth-scale-vert": 0.20,
    "mouth/mouth-upperlip-height": 0.35,
    "mouth/mouth-lowerlip-height": 0.20,
    "mouth/mouth-upperlip-volume": 0.30,
    "mouth/mouth-lowerlip-volume": 0.22,
    "mouth/mouth-cupidsbow": 0.35,
    "mouth/mouth-philtrum-volume": 0.30,
    "chin/chin-width": 0.16,
    "chin/chin-height": 0.10,
    "chin/chin-prominent": 0.16,
    "chin/chin-bones": 0.14,
    "chin/chin-jaw-drop": 0.20,
    "chin/chin-prognathism": 0.08,
    "neck/neck-scale-horiz": 0.15,
    "neck/neck-scale-vert": 0.06,
    "neck/neck-double": 0.10,
}

# The same for features of the left and right half, drawn together.
PAIRED_FEATURES = {
    "eyes/{side}-eye-height1": 0.30,
    "eyes/{side}-eye-height2": 0.35,
    "eyes/{side}-eye-height3": 0.30,
    "eyes/{side}-eye-scale": 0.25,
    "eyes/{side}-eye-bag": 0.30,
    "cheek/{side}-cheek-bones": 0.18,
    "cheek/{side}-cheek-volume": 0.18,
    "cheek/{side}-cheek-inner": 0.15,
    "ears/{side}-ear-scale": 0.15,
    "ears/{side}-ear-wing": 0.14,
    "ears/{side}-ear-lobe": 0.20,
    "ears/{side}-ear-flap": 0.10,
}

# Opposite targets that are not called "decr" and "incr": their deviation.
OPPOSITES = {
    ("nose/nose-point-down", "nose/nose-point-up"): 0.22,
    ("nose/nose-base-down", "nose/nose-base-up"): 0.19,
    ("nose/nose-curve-concave", "nose/nose-curve-convex"): 0.17,
    ("nose/nose-trans-down", "nose/nose-trans-up"): 0.15,
    ("nose/nose-nostrils-angle-down", "nose/nose-nostrils-angle-up"): 0.22,
    ("mouth/mouth-trans-down", "mouth/mouth-trans-up"): 0.15,
    ("mouth/mouth-angles-down", "mouth/mouth-angles-up"): 0.20,
    ("mouth/mouth-dimples-in", "mouth/mouth-dimples-out"): 0.30,
    ("eyebrows/eyebrows-trans-down", "eyebrows/eyebrows-trans-up"): 0.22,
    ("eyebrows/eyebrows-angle-down", "eyebrows/eyebrows-angle-up"): 0.18,
    ("forehead/forehead-trans-backward", "forehead/forehead-trans-forward"): 0.10,
}
PAIRED_OPPOSITES = {
    ("eyes/{side}-eye-trans-in", "eyes/{side}-eye-trans-out"): 0.25,
    ("eyes/{side}-eye-trans-down", "eyes/{side}-eye-trans-up"): 0.15,
    ("eyes/{side}-eye-corner1-down", "eyes/{side}-eye-corner1-up"): 0.25,
    ("eyes/{side}-eye-corner2-down", "eyes/{side}-eye-corner2-up"): 0.35,
    ("eyes/{side}-eye-eyefold-down", "eyes/{side}-eye-eyefold-up"): 0.30,
    ("eyes/{side}-eye-eyefold-concave", "eyes/{side}-eye-eyefold-convex"): 0.30,
    ("eyes/{side}-eye-push1-in", "eyes/{side}-eye-push1-out"): 0.20,
    ("cheek/{side}-cheek-trans-down", "cheek/{side}-cheek-trans-up"): 0.15,
}

# Means other than 0: MakeHuman's average mouth droops and its ears stand out.
MEANS = {"mouth/mouth-angles-up": 0.35, "ears/{side}-ear-wing-incr": -0.12}

# MakeHuman's average is broad next to its head, dressed people more so.
NARROWER = {"torso/torso-scale-horiz-decr": 0.25, "arms/measure-upperarm-circ-decr": 0.4}

# Small differences between the halves of a face; nobody is symmetric.
ASYMMETRIES = (
    "brown-1",
    "brown-2",
    "cheek-1",
    "eye-3",
    "eye-6",
    "jaw-1",
    "mouth-1",
    "mouth-2",
    "nose-1",
    "nose-2",
    "nose-4",
    "ear-1",
    "ear-2",
    "temple-1",
)
LARGEST_ASYMMETRY = 0.2
LARGEST_WEIGHT = 0.8  # beyond, faces turn into caricatures

EYE_COLORS = {  # iris, sRGB
    "dark brown": "2e180c",
    "brown": "4a2a14",
    "light brown": "6b4422",
    "hazel": "6f5a30",
    "green": "656f5a",
    "gray": "77838a",
    "blue": "647f95",
    "light blue": "86a3b4",
}
DARK_EYES = {"dark brown": 0.55, "brown": 0.38, "light brown": 0.07}
MIXED_EYES = {
    "dark brown": 0.10,
    "brown": 0.24,
    "light brown": 0.14,
    "hazel": 0.14,
    "green": 0.10,
    "gray": 0.08,
    "blue": 0.13,
    "light blue": 0.07,
}

# Hair by Blender's scales: melanin (0.2 pale blond, 1 black) and redness; shares.
FAIR_HAIR = {
    "0.24": 0.10,
    "0.36": 0.14,
    "0.5": 0.18,
    "0.62": 0.20,
    "0.72": 0.18,
    "0.84": 0.14,
    "0.95": 0.06,
}
HAIR_REDNESS = {"0.05": 0.35, "0.15": 0.35, "0.3": 0.24, "0.7": 0.06}
DARK_HAIR_REDNESS = 0.1

# For `body.ANCESTRIES`: a Dirichlet distribution that favors one part over
# mixtures, and the mean skin tone of each.
ANCESTRY_CONCENTRATION = (0.3, 0.4, 0.6)
ANCESTRY_TONES = (0.80, 0.30, 0.14)
DARK_FEATURES = 0.4  # share of African and Asian ancestry from which eyes and hair are dark


@dataclass(frozen=True)
class PersonChoice:
    """One identity.

    Attributes
    ----------
    sex : str
        "female" or "male".
    masculinity : float
        0 female to 1 male: what the shape blends.
    years : float
        Age.
    muscle, weight, cup : float
        0 to 1, least to most.
    ancestry : (3,) tuple of float
        Shares of `body.ANCESTRIES`.
    skin_tone : float
        0 palest to 1 darkest.
    skin_redness, skin_yellowness : float
        -1 to 1 about the average hue of the tone.
    freckles, spots, pores : float
        0 to 1: strength in the skin's material.
    eye_color : str
        Key of `EYE_COLORS`.
    hair_melanin, hair_redness : float
        Natural color of the hair, 0 to 1 by Blender's hair shader.
    gray : float
        Share of gray hair, 0 to 1.
    targets : dict of str to float
        The face's own shape, for `BaseMesh.morph`, on top of the overall one.
    """

    sex: str
    masculinity: float
    years: float
    muscle: float
    weight: float
    cup: float
    ancestry: tuple[float, float, float]
    skin_tone: float
    skin_redness: float
    skin_yellowness: float
    freckles: float
    spots: float
    pores: float
    eye_color: str
    hair_melanin: float
    hair_redness: float
    gray: float
    targets: dict[str, float]

    @property
    def age(self) -> float:
        """Age on MakeHuman's scale: 0.1875 at 10 years, 0.5 at 25, 1 at 90."""
        if self.years < 25:
            return 0.1875 + (self.years - 10) / 15 * 0.3125
        return 0.5 + (self.years - 25) / 65 * 0.5


def _choose_years(rng: np.random.Generator) -> float:
    shares = np.array([share for *_, share in AGE_BANDS])
    low, high, _ = AGE_BANDS[int(rng.choice(len(AGE_BANDS), p=shares))]
    return float(rng.uniform(low, high))


def _choose_face(rng: np.random.Generator) -> dict[str, float]:
    """Weights of the targets that make a face unlike others."""
    targets: dict[str, float] = {}

    def draw(high: str, deviation: float) -> float:
        mean = MEANS.get(high, 0.0)
        return clipped_normal(rng, mean, deviation, -LARGEST_WEIGHT, LARGEST_WEIGHT)

    def add(low: str, high: str, weight: float) -> None:
        targets[high if weight > 0 else low] = abs(weight)

    shape = pick(rng, {name: share for name, (share, _) in HEAD_SHAPES.items()})
    targets[f"head/head-{shape}"] = float(rng.uniform(0.15, HEAD_SHAPES[shape][1]))
    for name, deviation in FEATURES.items():
        add(f"{name}-decr", f"{name}-incr", draw(f"{name}-incr", deviation))
    for (low, high), deviation in OPPOSITES.items():
        add(low, high, draw(high, deviation))
    pairs = {(f"{name}-decr", f"{name}-incr"): d for name, d in PAIRED_FEATURES.items()}
    for (low, high), deviation in (pairs | PAIRED_OPPOSITES).items():
        weight = draw(high, deviation)
        for side in "lr":
            own = weight * float(rng.uniform(0.88, 1.12))
            add(low.format(side=side), high.format(side=side), own)
    for name in ASYMMETRIES:
        targets[f"asym/asym-{name}-{rng.choice(['l', 'r'])}"] = float(
            rng.uniform(0, LARGEST_ASYMMETRY)
        )
    return targets


def choose_person(rng: np.random.Generator) -> PersonChoice:
    """Draw an identity.

    Sexes are equally frequent; skin, eyes and hair follow ancestry loosely.
    """
    sex = "male" if rng.random() < 0.5 else "female"
    masculinity = clipped_normal(rng, 0.86 if sex == "male" else 0.08, 0.07, 0.0, 1.0)
    years = _choose_years(rng)
    ancestry = tuple(float(share) for share in rng.dirichlet(ANCESTRY_CONCENTRATION))
    african, asian, _ = ancestry
    tone = clipped_normal(rng, float(np.dot(ancestry, ANCESTRY_TONES)), 0.08, 0.0, 1.0)
    dark = african + asian > DARK_FEATURES
    eye_color = pick(rng, DARK_EYES if dark else MIXED_EYES)
    fair = float(pick(rng, FAIR_HAIR))
    melanin = float(rng.uniform(0.86, 1.0)) if dark else fair + rng.normal(0, 0.03)
    redness = float(pick(rng, HAIR_REDNESS))
    graying = max(0.0, (years - 35) / 35) * rng.uniform(0, 1.2)
    freckled = rng.random() < (0.35 if tone < 0.25 else 0.1)
    return PersonChoice(
        sex=sex,
        masculinity=masculinity,
        years=years,
        muscle=clipped_normal(rng, 0.5 if sex == "male" else 0.42, 0.12, 0.15, 0.85),
        weight=clipped_normal(rng, 0.48, 0.15, 0.15, 0.95),
        cup=float(rng.uniform(0.3, 0.7)),
        ancestry=ancestry,
        skin_tone=tone,
        skin_redness=clipped_normal(rng, 0.0, 0.4, -1, 1),
        skin_yellowness=clipped_normal(rng, 0.5 * asian, 0.35, -1, 1),
        freckles=float(rng.uniform(0.3, 1.0)) if freckled else float(rng.uniform(0, 0.12)),
        spots=float(np.clip(rng.uniform(0.05, 0.4) + max(0, years - 50) / 60, 0, 1)),
        pores=float(rng.uniform(0.4, 1.0)),
        eye_color=eye_color,
        hair_melanin=float(np.clip(melanin, 0.18, 1.0)),
        hair_redness=DARK_HAIR_REDNESS if dark else redness,
        gray=float(np.clip(graying, 0, 1)),
        targets=_choose_face(rng),
    )


def person_shape(mesh: BaseMesh, person: PersonChoice) -> np.ndarray:
    """The (N, 3) vertices of a person standing with a neutral face, in meters."""
    overall = macro_targets(
        person.masculinity, person.age, person.muscle, person.weight, person.ancestry, person.cup
    )
    return mesh.morph(mesh.vertices, overall | NARROWER | person.targets)
