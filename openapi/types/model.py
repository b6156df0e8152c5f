"""The base of all types of the API: snake case here, the API's names on the wire.

A field that Docker leaves out when it is empty defaults to UNSET; one that Docker always sends defaults to its zero
value (`null` for a list, a map or a pointer).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

T = TypeVar("T")


class Model(msgspec.Struct, rename="pascal", kw_only=True):
    """A JSON object of the Docker Engine API."""


def given(value: T | msgspec.UnsetType, default: T) -> T:
    """Return the field's value, or `default` where the client or Docker left it out."""
    return default if value is msgspec.UNSET else value
