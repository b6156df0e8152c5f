"""Version gates: what a request of an older API means today, and what an older client is shown of an answer.

A gate is one entry of `requests.REQUESTS` or `responses.RESPONSES`. The API calls `upgrade` and `filters` when it
decodes and `downgrade` when it encodes; the engine knows the newest version only.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from ..engine.filters import Filters
from .gate import Gate, Version
from .requests import FILTERS, REQUESTS
from .responses import RESPONSES


@functools.lru_cache(1024)
def _open(gates: tuple[Gate, ...], operation: str, version: Version) -> tuple[Gate, ...]:
    return tuple(gate for gate in gates if gate.operation == operation and gate.applies(version))


def upgrade(operation: str, version: Version, request: Any) -> list[str]:
    """Change a decoded request to what it means in the newest version; return warnings for the client."""
    warnings = [gate.change(request) for gate in _open(REQUESTS, operation, version)]
    return [warning for warning in warnings if warning]


def filters(operation: str, version: Version, given: Filters) -> Filters:
    """Return the filters that an older client's mean."""
    for gate in _open(FILTERS, operation, version):
        given = gate.change(given)
    return given


def downgrade(operation: str, version: Version, answer: Any) -> Any:
    """Return what a client of `version` knows of an answer; nothing where it does not know it at all.

    What a gate has changed is plain data, its members in the order in which they are to be written.
    """
    for gate in (gates := _open(RESPONSES, operation, version)):
        if gate is gates[0]:
            answer = msgspec.to_builtins(answer, order="deterministic")
        if answer is not None:
            answer = gate.change(answer)
    return answer
