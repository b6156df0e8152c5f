"""COPY, ADD, heredocs and WORKDIR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..context import Context
from ..drafts import draft
from ..graph import Copy, MakeDirectory, Owner, WriteFiles
from ..trees import Tree


async def copy(context: Context, step: Copy, key: str, *, base: Tree, source: Tree, parents: Sequence[str]) -> None:
    """Copy files onto what is there."""
    async with draft(context, base.layers) as made:
        size = await context.workers.run(
            "copy",
            target=made.mounts,
            source=await source.paths(context),
            paths=step.paths,
            destination=step.destination,
            owners=await base.paths(context),
            exclude=step.exclude,
            keeps_parents=step.keeps_parents,
            unpacks=step.unpacks,
            needs_match=step.needs_match,
            **_attributes(step.owner, step.mode, step.created_at),
        )
        await made.keep(key, below=base.layers, size=size, description=step.name, parents=parents)


async def make(
    context: Context, step: WriteFiles | MakeDirectory, key: str, *, base: Tree, parents: Sequence[str]
) -> None:
    """Make files of heredocs, or a directory."""
    async with draft(context, base.layers) as made:
        if isinstance(step, WriteFiles):
            size = await context.workers.run(
                "write",
                target=made.mounts,
                files=[(file.name, file.data) for file in step.files],
                destination=step.destination,
                owners=await base.paths(context),
                **_attributes(step.owner, step.mode, step.created_at),
            )
        else:
            size = await context.workers.run(
                "make_directory",
                target=made.mounts,
                path=step.path,
                owner=_named(step.owner),
                owners=await base.paths(context),
                created_at=step.created_at,
            )
        await made.keep(key, below=base.layers, size=size, description=step.name, parents=parents)


def _attributes(owner: Owner | None, mode: str, created_at: int | None) -> dict[str, Any]:
    return {"owner": _named(owner), "mode": mode, "created_at": created_at}


def _named(owner: Owner | None) -> tuple[str, str] | None:
    return (owner.user, owner.group) if owner is not None else None
