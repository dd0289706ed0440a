"""Photos that a command line names: files, and folders that are searched."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from data_prep.common.errors import InputError
from tools.outputs.effects import EFFECTS
from tools.outputs.folders import list_photos
from tools.outputs.rendering import OUTPUTS

logger = logging.getLogger(__name__)


def photos_at(places: Sequence[Path]) -> list[Path]:
    """Photos among the given paths, and those in the given folders and the folders in them.

    Outputs of ``tools/matte.py`` are left out of folders; what is passed over is logged.

    Parameters
    ----------
    places : sequence of Path
        At least one.

    Returns
    -------
    list of Path
        Each once, in the order of the places, sorted within a folder.

    Raises
    ------
    InputError
        If a path does not exist, or a folder holds no photo.
    """
    found: dict[Path, None] = {}
    for place in places:
        if not place.exists():
            raise InputError(f"{place} does not exist; name photos or folders of photos.")
        if not place.is_dir():
            found[place] = None
            continue
        listing = list_photos(place, None, (*OUTPUTS, *EFFECTS))
        for sentence in listing.passed_over():
            logger.warning("passed over in %s: %s", place, sentence)
        if not listing.photos:
            raise InputError(f"There is no photo in {place}; name photos or folders of photos.")
        found |= dict.fromkeys(listing.photos)
    return list(found)
