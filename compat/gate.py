"""One change between two versions of the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """`change` is applied to what versions `since` on and `below` another one send or get."""

    operation: str
    change: Callable[[Any], Any]
    since: Version = ()
    below: Version = ()

    def applies(self, version: Version) -> bool:
        return version >= self.since and (not self.below or version < self.below)
