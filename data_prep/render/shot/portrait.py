"""All choices of a photo: who, how posed, dressed, lit, taken and before what.

A person's looks have streams of their own, numbered by person; everything else
is drawn anew for each photo.  No Blender here: a set of photos can be looked at
as choices before anything is rendered.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from data_prep.render.base.randomness import generator
from data_prep.render.clothes.accessories import AccessoriesChoice, choose_accessories
from data_prep.render.clothes.clothing import ClothingChoice, choose_clothing
from data_prep.render.hair.facial_hair import FacialHairChoice, choose_facial_hair
from data_prep.render.hair.styles import HairChoice, choose_hair
from data_prep.render.people.expression import PoseChoice, choose_pose
from data_prep.render.people.hands import HandChoice, choose_hand
from data_prep.render.people.person import PersonChoice, choose_person
from data_prep.render.people.skin import SkinChoice, choose_skin
from data_prep.render.shot.background import BackgroundChoice, choose_background
from data_prep.render.shot.camera import CameraChoice, choose_camera
from data_prep.render.shot.compositing import DevelopChoice, choose_development
from data_prep.render.shot.light import LightChoice, choose_light

# Among this many photos in a row no two share all of `PortraitChoice.kinds`.
DISTINCT_AMONG = 100
LARGEST_ATTEMPTS = 200


@dataclass(frozen=True)
class PortraitChoice:
    """Everything that is drawn for one photo.

    Attributes
    ----------
    seed, number : int
        Seed of the set, and number of the photo in it.
    person_number : int
        Photos of one person share it.
    person, skin, pose, hair, facial_hair, clothing, accessories, hand, camera,
    light, background, development
        The choice of each concern.
    """

    seed: int
    number: int
    person_number: int
    person: PersonChoice
    skin: SkinChoice
    pose: PoseChoice
    hair: HairChoice
    facial_hair: FacialHairChoice
    clothing: ClothingChoice
    accessories: AccessoriesChoice
    hand: HandChoice | None
    camera: CameraChoice
    light: LightChoice
    background: BackgroundChoice
    development: DevelopChoice

    @property
    def kinds(self) -> tuple[str, str, str, str]:
        """Hair style, outfit, light and background, by name."""
        return (
            self.hair.style,
            self.clothing.outfit,
            self.light.kind,
            f"{self.background.kind} {self.background.detail}".strip(),
        )


def person_of(number: int, per_person: int) -> int:
    """Number of the person on photo `number`."""
    return number // per_person


def _drawn(seed: int, number: int, per_person: int) -> PortraitChoice:
    """A photo's choices, regardless of the photos before it."""
    who = person_of(number, per_person)
    person = choose_person(generator(seed, who, "person"))
    hair = choose_hair(generator(seed, number, "hair"), person)
    clothing = choose_clothing(generator(seed, number, "clothing"), person)
    accessories = choose_accessories(
        generator(seed, number, "accessories"), person, hair.style, clothing.outfit
    )
    light = choose_light(generator(seed, number, "light"))
    return PortraitChoice(
        seed=seed,
        number=number,
        person_number=who,
        person=person,
        skin=choose_skin(
            generator(seed, number, "skin"), person, generator(seed, who, "skin pattern")
        ),
        pose=choose_pose(generator(seed, number, "pose")),
        hair=hair,
        facial_hair=choose_facial_hair(generator(seed, number, "facial hair"), person),
        clothing=clothing,
        accessories=accessories,
        hand=choose_hand(generator(seed, number, "hand"), hatted=accessories.hat is not None),
        camera=choose_camera(generator(seed, number, "camera")),
        light=light,
        background=choose_background(generator(seed, number, "background"), light),
        development=choose_development(generator(seed, number, "development"), light.warmth),
    )


@functools.lru_cache(maxsize=4)
def _block(seed: int, first: int, per_person: int) -> tuple[PortraitChoice, ...]:
    """`DISTINCT_AMONG` photos from number `first`, no two of the same kinds.

    A photo like one before it gets another background.
    """
    block: list[PortraitChoice] = []
    taken = set()
    for number in range(first, first + DISTINCT_AMONG):
        choice = _drawn(seed, number, per_person)
        for attempt in range(1, LARGEST_ATTEMPTS):
            if choice.kinds not in taken:
                break
            rng = generator(seed, number, f"background {attempt}")
            choice = replace(choice, background=choose_background(rng, choice.light))
        taken.add(choice.kinds)
        block.append(choice)
    return tuple(block)


def choose_portrait(seed: int, number: int, per_person: int) -> PortraitChoice:
    """Draw photo `number` of a set; the same for all sizes of the set.

    Parameters
    ----------
    seed, number : int
    per_person : int
        Photos of each person, one after another.
    """
    first = number - number % DISTINCT_AMONG
    return _block(seed, first, per_person)[number - first]
