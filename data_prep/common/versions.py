"""Versions, raised by hand, that stand for code in the keys of kept work.

Work that is kept between runs (photos, records, measured errors) is named by all that it
depends on, code included.  A number beside the code stands for it, such as
`data_prep.caffe_data.survey.SURVEY_VERSION`.  Whoever changes what the code makes raises the
number, and work of earlier versions is done again.  A comment, a new name or another place of the
code changes no output and no version.

The tests keep, for every version, what was made of a small fixed input: they fail when
the output changes and the version does not.
"""

from __future__ import annotations

from data_prep.common.digests import content_key

# The face landmark model of `FIRST_RECIPES`.
_LANDMARKS = "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
# Up to commit 64d2747 digests of source files stood for code.  Keys of the first versions
# keep the digests of that commit, so that what it made stays valid.
FIRST_RECIPES = {
    ("render", 1): "1ce43ce56af8483e181d0017f1bda56c5c826e188ac1f005528d196f1acae6cb",
    ("survey", 1, _LANDMARKS): "bf14699cdc158f5be5b286e89cd23ec7eec79a04054243f634ca9ce0ef353230",
    ("import", 1, _LANDMARKS): "f76387f02db694da6b60767fd902d6ee6e4e03d97a5ba7de614e0338fe70be4f",
    ("labeled mattes", 1): "af5cfbcde70d32998b4224b99295b1732c46874af12ce3eedbaaa9e75cb3bf7c",
}


def recipe_of(product: str, version: int, *assets: str) -> str:
    """What stands for the code of a product in keys.

    Parameters
    ----------
    product : str
    version : int
        From 1.
    *assets : str
        Digests of fetched files that the code works with.
    """
    known = FIRST_RECIPES.get((product, version, *assets))
    return known or content_key(product, version, *assets)
