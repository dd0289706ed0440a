"""What hair somebody wears: the distribution of styles and colors."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from data_prep.render.base.colors import linear_color
from data_prep.render.base.randomness import clipped_normal, pick
from data_prep.render.people.person import PersonChoice
from data_prep.render.people.scalp import Hairline

# How a style is grown (`hair.cuts`, `hair.tied`): cut close, combed short, hanging, standing
# by its own curl, gathered in a knot, divided in ropes.
FAMILIES = ("none", "stubble", "short", "loose", "volume", "tied", "ropes")

# Shares of women, of men, and the factor for people of mostly African ancestry.
STYLES: dict[str, tuple[str, float, float, float]] = {
    "bald": ("none", 0.3, 3, 1),
    "balding": ("short", 0, 4, 1),
    "shaved": ("stubble", 0.5, 3, 1.5),
    "buzz": ("stubble", 0.5, 5, 2),
    "crop": ("short", 1.5, 12, 1.2),
    "side part": ("short", 1, 13, 0.2),
    "slick back": ("short", 1, 6, 0.3),
    "quiff": ("short", 1, 9, 0.4),
    "messy": ("short", 2, 12, 0.2),
    "pixie": ("short", 5, 0.5, 0.5),
    "short curls": ("volume", 4, 9, 2),
    "afro": ("volume", 1, 1.5, 14),
    "big curls": ("volume", 8, 3, 3),
    "bob": ("loose", 9, 0.7, 0.5),
    "bob with fringe": ("loose", 5, 0.3, 0.4),
    "long straight": ("loose", 13, 2, 0.4),
    "long fringe": ("loose", 7, 0.3, 0.3),
    "long waves": ("loose", 16, 4, 0.4),
    "long curls": ("loose", 8, 2.5, 2),
    "locs": ("ropes", 0.4, 0.5, 12),
    "box braids": ("ropes", 0.4, 0.1, 12),
    "top bun": ("tied", 5, 1.5, 1.2),
    "low bun": ("tied", 5, 0.7, 1.2),
    "high ponytail": ("tied", 5, 0.2, 0.8),
    "low ponytail": ("tied", 5, 1.2, 0.6),
    "pigtails": ("tied", 1.5, 0, 1.2),
    "side braid": ("tied", 4, 0.1, 0.7),
}

MOST_TURNS = 9  # of a curl: each takes five control points, which cost rendering time

# Bright dyes, sRGB, over bleached hair.
DYES = {
    "pink": "e86aa0",
    "rose": "e9a6b4",
    "blue": "3d6fc4",
    "turquoise": "2fa7a3",
    "violet": "7d4bb0",
    "red": "c2202f",
    "green": "3f9a58",
    "silver": "c9ced6",
}
AFRICAN = 0  # of the shares of a person's ancestry


@dataclass(frozen=True)
class HairColor:
    """Color of scalp hair, by Blender's hair shader.

    Attributes
    ----------
    melanin, redness : float
        Pigment of the roots and its share of pheomelanin, 0 to 1.
    gray : float
        Share of hairs without pigment.
    tips : float
        How much pigment the tips have lost, 0 to 1.
    dye : str
        Key of `DYES`, or "" for a color that people are born with.
    roughness : float
        Roughness of the shine along the hair: low is glossy.
    """

    melanin: float
    redness: float
    gray: float = 0.0
    tips: float = 0.0
    dye: str = ""
    roughness: float = 0.3

    def shade(self) -> np.ndarray:
        """Roughly what the hair looks like from afar, linear RGB (3,)."""
        if self.dye:
            return linear_color(DYES[self.dye])
        absorption = np.array([1.0, 1.35, 2.0]) + self.redness * np.array([-0.1, 0.25, 0.6])
        colored = 0.5 * np.exp(-3.0 * self.melanin * absorption)
        return (1 - self.gray) * colored + self.gray * 0.35


@dataclass(frozen=True)
class HairChoice:
    """One head of hair; lengths in meters.

    Attributes
    ----------
    style : str
        Key of `STYLES`.
    color : HairColor
    hairline : Hairline
    strands : int
        Hairs to draw on the scalp.
    length, side_length : float
        On top; at the sides and back (short styles).
    part : float
        Where the parting lies, toward the subject's left.
    comb : str
        Which way short hair is combed: "side", "up", "forward", "back", "any".
    fringe : float
        Length of the hair over the forehead, 0 for none.
    hem : float
        Height in rest coordinates at which hanging hair is cut, 0 for uncut.
    volume : float
        Thickness of the layer of hair.
    clump : float
        0 to 1: how far hairs stick together.
    wave : (2,) tuple of float
        Radius and pitch of curls; radius 0 for straight hair.
    frizz : float
        By how much each hair wanders off.
    flyaways : float
        Share of hairs that have left their place.
    framing : float
        Half the width of the face that hanging hair leaves free.
    tucked : bool
        Whether hanging hair is tucked behind the ears.
    side : float
        -1 right to 1 left: where a tail, a braid or loose hair falls.
    """

    style: str
    color: HairColor
    hairline: Hairline = field(default_factory=Hairline)
    strands: int = 22000
    length: float = 0.0
    side_length: float = 0.0
    part: float = 0.0
    comb: str = "any"
    fringe: float = 0.0
    hem: float = 0.0
    volume: float = 0.0
    clump: float = 0.5
    wave: tuple[float, float] = (0.0, 1.0)
    frizz: float = 0.001
    flyaways: float = 0.04
    framing: float = 0.065
    tucked: bool = False
    side: float = 0.0

    @property
    def family(self) -> str:
        """How it is grown: one of `FAMILIES`."""
        return STYLES[self.style][0]


def choose_color(rng: np.random.Generator, person: PersonChoice) -> HairColor:
    """Draw a color: mostly the person's own, sometimes dyed.

    Half of the women from 40 on color gray hair over.  One person in twenty wears a
    color that nobody is born with, one woman in seven lightened tips.
    """
    female = person.sex == "female"
    natural = HairColor(
        # Pure black is a hole in the picture; real black hair is very dark brown.
        melanin=float(np.clip(person.hair_melanin, 0.16, 0.96)),
        redness=person.hair_redness,
        gray=person.gray,
        roughness=float(rng.uniform(0.20, 0.34)),
    )
    covers, dyes, lightens, bleaches = rng.random(4)
    dye = pick(rng, dict.fromkeys(DYES, 1.0))
    tips = float(rng.uniform(0.35, 0.8))
    tone = float(rng.choice([0.25, 0.4, 0.6, 0.75]))
    if person.years < 55 and dyes < (0.06 if female else 0.025):
        return replace(natural, melanin=0.06, gray=0.0, dye=dye)
    if female and natural.gray > 0.1 and covers < 0.5:
        natural = replace(natural, gray=0.02, melanin=max(natural.melanin, 0.4))
    if female and bleaches < 0.10:
        return replace(natural, melanin=tone, gray=0.0, tips=0.2)
    if female and lightens < 0.14:
        return replace(natural, tips=tips)
    return natural


def _choose_hairline(rng: np.random.Generator, person: PersonChoice, style: str) -> Hairline:
    aging = max(0.0, person.years - 24) / 50 if person.sex == "male" else 0.0
    peaked = rng.random() < 0.35
    recession = 0.020 * aging * rng.random()
    thinning = aging * rng.random() ** 2 * 0.6
    if style == "balding":
        recession, thinning = rng.uniform(0.012, 0.03), rng.uniform(0.75, 1.0)
    return Hairline(
        recession=float(recession),
        peak=float(rng.uniform(0.002, 0.006)) if peaked else 0.0,
        lift=clipped_normal(rng, 0.0, 0.004, -0.007, 0.008),
        thinning=float(min(thinning, 1.0)),
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


def style_shares(person: PersonChoice) -> dict[str, float]:
    """Shares of the styles for somebody of this sex, age and ancestry."""
    column = 1 if person.sex == "female" else 2
    african = person.ancestry[AFRICAN]
    shares = {}
    for style, row in STYLES.items():
        factor = (1 - african) + african * row[3] if african > 0.35 else 1.0
        if row[3] > 5 and african <= 0.35:
            factor = 0.35
        if style in ("bald", "balding"):
            factor *= 0.15 if person.years < 28 else min(2.0, person.years / 40)
        if style in ("locs", "box braids", "pigtails", "messy") and person.years > 50:
            factor *= 0.2
        shares[style] = row[column] * factor
    return shares


def choose_hair(rng: np.random.Generator, person: PersonChoice) -> HairChoice:
    """Draw style, cut and color of somebody's hair."""
    style = pick(rng, style_shares(person))
    return hair_in_style(rng, person, style)


def hair_in_style(rng: np.random.Generator, person: PersonChoice, style: str) -> HairChoice:
    """Draw a head of hair of a given style (a key of `STYLES`)."""
    hair = HairChoice(
        style=style,
        color=choose_color(rng, person),
        hairline=_choose_hairline(rng, person, style),
        part=float(rng.choice([0.0, 0.010, -0.014, 0.024, -0.026])),
        clump=float(rng.uniform(0.35, 0.75)),
        frizz=float(rng.uniform(0.0008, 0.0028)),
        flyaways=float(rng.uniform(0.04, 0.20)),
        framing=float(rng.uniform(0.056, 0.074)),
        tucked=bool(rng.random() < 0.35),
        side=float(rng.choice([-1.0, 1.0])),
    )
    return _CUTS[hair.family](rng, person, hair)


def _bald(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    return replace(hair, strands=0)


def _stubble(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    low, high = (0.0015, 0.003) if hair.style == "shaved" else (0.004, 0.010)
    length = float(rng.uniform(low, high))
    faded = length * float(rng.uniform(0.35, 1.0))
    return replace(hair, strands=26000, length=length, side_length=faded, clump=0.2)


# Length on top and at the sides, and how it may be combed.
_SHORT = {
    "balding": ((0.008, 0.030), (0.008, 0.025), ("back", "side")),
    "crop": ((0.020, 0.040), (0.004, 0.014), ("forward", "up", "any")),
    "side part": ((0.045, 0.080), (0.012, 0.030), ("side",)),
    "slick back": ((0.060, 0.100), (0.012, 0.035), ("back",)),
    "quiff": ((0.050, 0.085), (0.006, 0.018), ("up",)),
    "messy": ((0.045, 0.085), (0.022, 0.045), ("any", "forward")),
    "pixie": ((0.055, 0.090), (0.025, 0.040), ("side", "forward")),
}


def _short(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    top, sides, combs = _SHORT[hair.style]
    part = float(rng.choice([-1, 1]) * rng.uniform(0.026, 0.042))
    kinky = person.ancestry[AFRICAN] > 0.5
    curly = kinky or rng.random() < 0.25
    wave = (float(rng.uniform(0.0018, 0.0040)), float(rng.uniform(0.018, 0.045)))
    if kinky:
        wave = (float(rng.uniform(0.0018, 0.003)), float(rng.uniform(0.008, 0.014)))
    return replace(
        hair,
        strands=20000,
        length=float(rng.uniform(*top)),
        side_length=float(rng.uniform(*sides)),
        part=part,
        comb=str(rng.choice(combs)),
        volume=float(rng.uniform(0.006, 0.018)),
        wave=wave if curly else (0.0, 1.0),
        flyaways=0.3 * hair.flyaways,  # as many as in long hair would make a ball of short hair
    )


def _loose(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    bob = hair.style.startswith("bob")
    fringe = float(rng.uniform(0.048, 0.068)) if "fringe" in hair.style else 0.0
    wave = (0.0, 1.0)
    if hair.style == "long waves":
        wave = (float(rng.uniform(0.006, 0.011)), float(rng.uniform(0.06, 0.10)))
    elif hair.style == "long curls":
        wave = (float(rng.uniform(0.006, 0.010)), float(rng.uniform(0.032, 0.050)))
    elif rng.random() < 0.5:  # hardly any hair is perfectly straight
        wave = (float(rng.uniform(0.002, 0.004)), float(rng.uniform(0.10, 0.16)))
    curly = 0 < wave[1] < 0.055
    length = 0.27 if bob else float(rng.uniform(0.28, 0.46))
    return replace(
        hair,
        strands=13000 if curly else 20000,
        length=min(length, MOST_TURNS * wave[1]) if curly else length,
        fringe=fringe,
        hem=float(rng.uniform(0.595, 0.665)) if bob else 0.0,
        volume=float(rng.uniform(0.010, 0.020)),
        wave=wave,
    )


def _volume(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    if hair.style == "afro":
        length, height = rng.uniform(0.035, 0.09), 0.0
        wave, clump = (rng.uniform(0.0025, 0.004), 0.011), rng.uniform(0.2, 0.45)
    elif hair.style == "short curls":
        length, height = rng.uniform(0.06, 0.10), rng.uniform(0.012, 0.022)
        wave, clump = (rng.uniform(0.004, 0.006), rng.uniform(0.02, 0.035)), rng.uniform(0.6, 0.9)
    else:
        length, height = rng.uniform(0.14, 0.24), rng.uniform(0.022, 0.040)
        wave, clump = (rng.uniform(0.005, 0.008), rng.uniform(0.022, 0.04)), rng.uniform(0.65, 0.9)
    return replace(
        hair,
        strands=13500,
        length=float(min(length, MOST_TURNS * wave[1])),
        volume=float(height),
        clump=float(clump),
        wave=(float(wave[0]), float(wave[1])),
        frizz=float(rng.uniform(0.0010, 0.0022)),
    )


def _tied(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    return replace(
        hair,
        strands=15000,
        length=float(rng.uniform(0.20, 0.40)),
        volume=float(rng.uniform(0.003, 0.010)),
        wave=(float(rng.uniform(0.003, 0.006)), float(rng.uniform(0.06, 0.12))),
        side=float(np.sign(hair.side) * rng.uniform(0.5, 1.0)),
    )


def _ropes(rng: np.random.Generator, person: PersonChoice, hair: HairChoice) -> HairChoice:
    return replace(
        hair,
        strands=9000,
        length=float(rng.uniform(0.16, 0.42)),
        volume=float(rng.uniform(0.012, 0.022)),
        frizz=float(rng.uniform(0.0004, 0.0010)),
    )


_CUTS = {
    "none": _bald,
    "stubble": _stubble,
    "short": _short,
    "loose": _loose,
    "volume": _volume,
    "tied": _tied,
    "ropes": _ropes,
}
