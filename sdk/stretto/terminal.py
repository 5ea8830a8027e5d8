"""Keep a model's text from steering the terminal that shows it."""

from __future__ import annotations

import re

# Control characters but line feed and tab; and the marks that change the direction of what follows
# (Source: Unicode Standard Annex 9, table of explicit directional formatting characters).
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """Give the text with control characters and bidi marks written out, as `\\x1b` or `\\u202e`."""
    return STEERING.sub(_written_out, text.replace("\r\n", "\n"))


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
