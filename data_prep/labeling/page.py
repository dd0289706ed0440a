"""The page on which a person chooses between mattes; it needs no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from data_prep.labeling.mattes import METHODS

PAGE = "choose.html"
TEMPLATE = Path(__file__).with_name("choose_mattes.html")
PLACEHOLDER = "{{page_data}}"
DISCARD = "discard"
#: Pictures beyond this many bytes stay files beside the page.
LARGEST_EMBEDDED = 64e6


def page_data(records: Sequence[dict], folder: Path) -> dict:
    """What the page shows: by portrait, addresses of its three pictures.

    Parameters
    ----------
    records : sequence of dict
        Of `data_prep.labeling.candidates.make_candidates`.
    folder : Path
        Folder of the candidates, where the page is.

    Returns
    -------
    dict
        Pictures are data URIs, or paths relative to the page where all of
        them together exceed `LARGEST_EMBEDDED`.
    """
    names = [name for record in records for name in record["previews"].values()]
    embed = sum((folder / name).stat().st_size for name in names) <= LARGEST_EMBEDDED

    def address(name: str) -> str:
        if not embed:
            return quote(f"{folder.name}/{name}")
        return f"data:image/jpeg;base64,{base64.b64encode((folder / name).read_bytes()).decode()}"

    return {
        "methods": list(METHODS),
        "discard": DISCARD,
        "portraits": [
            {
                "stem": record["stem"],
                "candidates": record["key"],
                "pictures": {part: address(name) for part, name in record["previews"].items()},
            }
            for record in records
        ],
    }


def render_page(data: dict) -> str:
    """The page where a person chooses, with its data inside."""
    # "</" would end the script element.
    text = json.dumps(data).replace("</", "<\\/")
    return TEMPLATE.read_text(encoding="utf-8").replace(PLACEHOLDER, text)
