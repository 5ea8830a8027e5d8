"""Take out of texts whatever looks like a key that nobody told us."""

from __future__ import annotations

import re

from .secret import HIDDEN, Redactor

# What keys begin with. Source: the pages of Google, Groq, xAI, Hugging Face, GitHub and AWS on their keys.
_PREFIXED = re.compile(
    r"\b(?:AIza[\w-]{30,}|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|AKIA[A-Z0-9]{12,})"
)
_REDACTOR = Redactor()  # knows no key, but what one looks like


def clean(text: str) -> str:
    """Give a text without them."""
    return _PREFIXED.sub(HIDDEN, _REDACTOR.error_text(text))
