"""`lightship doctor --images` and `--repair`: what is stored is checked bit by bit, while no daemon runs."""

from __future__ import annotations

from pathlib import Path

from ...engine.errors import InvalidArgument, NotFound
from .terminal import coloured


async def check_images(data_root: Path, exec_root: Path, *, repair: bool) -> int:
    """Examine a data root that no daemon uses; return 1 where something is left that is not as it should be."""
    from ...engine.engine import locked
    from ...engine.images.repair import examine

    tasks = exec_root / "tasks"
    if repair and tasks.is_dir() and any(tasks.iterdir()):
        raise InvalidArgument("containers are running on these layers: stop them first")
    if not (data_root / "lightship.db").exists():
        raise NotFound(f"{data_root} is no data root")
    is_well = True
    with locked(data_root):
        async for finding in examine(data_root, repair=repair):
            print(f"{finding.text}{coloured(': unpacked anew', 'green') if finding.is_repaired else ''}")
            is_well = is_well and finding.is_repaired
    if is_well:
        print("all images are whole")
    return 0 if is_well else 1
