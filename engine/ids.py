"""Identifiers as Docker makes them: 64 hex digits, usable by any unambiguous prefix."""

from __future__ import annotations

import secrets
from collections.abc import Iterable


def new_id() -> str:
    """Return a random id of 64 hex digits whose short form is never all digits (it is used as a host name)."""
    while True:
        candidate = secrets.token_hex(32)
        if not candidate[:12].isdecimal():
            return candidate


def short_id(full_id: str) -> str:
    """Return the 12 digits that clients show, without an algorithm prefix."""
    return full_id.removeprefix("sha256:")[:12]


def matching_prefix(ids: Iterable[str], prefix: str) -> list[str]:
    """Return the ids that start with `prefix`; two are enough to know that it is ambiguous."""
    found: list[str] = []
    for candidate in ids:
        if candidate.startswith(prefix):
            found.append(candidate)
            if len(found) == 2:
                break
    return found
