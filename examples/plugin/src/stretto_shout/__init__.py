"""A layer that signs what a model says, and a provider that shouts."""

from .shout import Shout
from .sign import Sign

__all__ = ["Shout", "Sign"]
