"""The progress messages of load, import and pull, as the CLI draws them."""

from __future__ import annotations

from typing import Any

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_BAR = 50

Message = dict[str, Any]


def layer_progress(action: str, layer: str, *, current: int, total: int) -> Message:
    """Say how far `action` is on a layer, shown by its short id."""
    message: Message = {"status": action, "progressDetail": {}}
    if current or total:
        message["progressDetail"] = {"current": current, "total": total}
        message["progress"] = _bar(current, total)
    if layer:
        message["id"] = layer
    return message


def stream(text: str) -> Message:
    return {"stream": text}


def human_size(size: float) -> str:
    """Write a size with four significant digits, as docker/go-units does."""
    unit = 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size /= 1000
        unit += 1
    return f"{size:.4g}{_UNITS[unit]}"


def _bar(current: int, total: int) -> str:
    shown = f"{human_size(current):>8}"
    if total <= 0:
        return shown
    filled = min(current * 100 // total // 2, _BAR)
    numbers = f"{shown}/{human_size(total)}" if current <= total else shown
    return f"[{'=' * filled}>{' ' * (_BAR - filled)}] {numbers}"
