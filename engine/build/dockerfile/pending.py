"""Local sources of which only the whole Dockerfile tells what of them is needed.

While stages are converted a `Pending` stands in their place; `settled` puts the real ones there, once all is known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..graph import BindMount, CacheMount, Copy, MakeDirectory, Run, Step, WriteFiles


@dataclass(frozen=True)
class Pending(Step):
    """`key` is the context's name, empty for the build context."""

    key: str

    def definition(self) -> dict[str, object]:
        return {"key": self.key}


CONTEXT = Pending("", name="[internal] load build context")


def settled(step: Step | None, source: Callable[[Pending], Step]) -> Step | None:
    """Return the graph with all that is pending replaced."""
    known: dict[int, Step] = {}

    def visit(step: Step | None) -> Step | None:
        if step is None:
            return None
        if id(step) not in known:
            known[id(step)] = _changed(step)
        return known[id(step)]

    def _changed(step: Step) -> Step:
        if isinstance(step, Pending):
            return source(step)
        if isinstance(step, Copy):
            return replace(step, base=visit(step.base), source=visit(step.source))
        if isinstance(step, WriteFiles | MakeDirectory):
            return replace(step, base=visit(step.base))
        if isinstance(step, Run):
            mounts = tuple(
                replace(mount, source=visit(mount.source)) if isinstance(mount, BindMount | CacheMount) else mount
                for mount in step.mounts
            )
            return replace(step, base=visit(step.base), mounts=mounts)
        return step

    return visit(step)
