"""Results for another engine, written into the image itself; and which of a build's results are told."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..graph import Copy, MakeDirectory, Run, Step, WriteFiles, ancestry
from .document import described

if TYPE_CHECKING:
    from ..frontend import BuiltImage
    from ..solver import Solver


def inline(solver: Solver, built: BuiltImage) -> str:
    """Return what goes into the config of an image whose layers are packed."""
    document = described(solver.context, keys_of(solver, line(built.step)))
    return base64.b64encode(msgspec.json.encode(document)).decode()


def keys_of(solver: Solver, steps: Sequence[Step]) -> list[str]:
    """Return the keys of the steps that were looked at."""
    return list(dict.fromkeys(solver.keys[step.digest] for step in steps if step.digest in solver.keys))


def line(step: Step | None) -> list[Step]:
    """Return the steps whose layers a result has, the last first."""
    found: list[Step] = []
    while isinstance(step, Run | Copy | MakeDirectory | WriteFiles):
        found.append(step)
        step = step.base
    return found


def every_step(step: Step | None) -> list[Step]:
    """Return all that a result needs and that has layers of its own."""
    return [each for each in ancestry(step) if isinstance(each, Run | Copy | MakeDirectory | WriteFiles)]
