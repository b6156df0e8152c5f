"""What was done to make a container, and when: for `lightship explain`.

Off unless `begin` was called in this process or in one that it was forked from, so that nothing gathers in a process
that lives on. A note is a tuple in a list; making them into text is left to who reads them.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Step = tuple[int, str, str]
    """When (monotonic, nanoseconds), what was done, and to what."""

_MOST_STEPS = 250
_LONGEST = 160
_steps: list[Step] | None = None


def begin() -> None:
    global _steps
    _steps = []


def note(what: str, subject: str = "") -> None:
    """Note what has just been done."""
    if _steps is not None and len(_steps) < _MOST_STEPS:
        _steps.append((time.monotonic_ns(), what, subject[:_LONGEST]))


def take() -> list[Step] | None:
    """Return what was noted, and begin anew; nothing where it is off."""
    global _steps
    taken = _steps
    if taken is not None:
        _steps = []
    return taken


def add(steps: Iterable[Step] | None) -> None:
    """Take over what another process has noted."""
    if _steps is not None and steps:
        _steps.extend(steps)
