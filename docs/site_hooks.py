"""What `make docs` changes in the pages: links to files outside docs/ become their paths.

On a repository's web page such links open the file; the site does not hold it.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any

# [text](../file#anchor); the text may be wrapped.
OUTSIDE_LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)\s]*)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Replace links that leave docs/ by their text and the path in the repository.

    Parameters
    ----------
    markdown : str
        Text of one page.
    page : mkdocs.structure.pages.Page
    """
    folder = posixpath.dirname(posixpath.join("docs", page.file.src_uri))

    def path_of(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target.partition("#")[0]))
        if path == "docs" or path.startswith("docs/"):
            return match[0]
        return f"`{path}`" if text.strip("`") == path else f"{text} (`{path}`)"

    return OUTSIDE_LINK.sub(path_of, markdown)
