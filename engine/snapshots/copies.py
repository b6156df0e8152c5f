"""The daemon's end of the storage driver vfs: copies are made, and compared, in processes of their own.

See `plainworker.py` for the other end. A process costs little beside what it does.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import Internal


class Compared(msgspec.Struct):
    """What was changed in a copy; see `difference.py`."""

    changes: list[tuple[str, int]] = []
    size: int = 0
    error: str = ""


async def flatten(layers: Sequence[str], target: Path) -> None:
    """Copy what layers make, the uppermost first, into an empty directory."""
    await _run("flatten", layers=layers, target=str(target))


async def compare(tree: Path, layers: Sequence[str], output: Path | None = None) -> Compared:
    """Compare a copy with what it was made of; with an `output`, fill that as a layer."""
    return await _run("compare", tree=str(tree), layers=layers, output=str(output) if output else None)


async def _run(op: str, **job: Any) -> Compared:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-m", "lightship.engine.snapshots.plainworker", str(os.getpid()), stdin=PIPE, stdout=PIPE
    )
    try:
        answer, _ = await process.communicate(msgspec.json.encode({"op": op, **job}))
    except BaseException:
        process.kill()
        await process.wait()
        raise
    if process.returncode:
        raise Internal(f"copying a container's files: process {process.pid} ended early")
    compared = msgspec.json.decode(answer, type=Compared)
    if compared.error:
        raise Internal(compared.error)
    return compared
