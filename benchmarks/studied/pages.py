"""Put what was measured into a page, between marks: `<!-- study: claims -->` and `<!-- study ends -->`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_PART = re.compile(r"(<!-- study: ([\w-]+) -->\n)(.*?)(<!-- study ends -->)", re.DOTALL)


def filled(page: str, parts: Mapping[str, str]) -> str:
    """Give the page with its parts written anew.

    Raises:
        KeyError: for a mark that names no part.
    """
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]}\n\n{found[4]}", page)
