"""What a client may ask of the frontend in place of a build, and the form of the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..graph import Location

LINT, OUTLINE, TARGETS = "frontend.lint", "frontend.outline", "frontend.targets"
DESCRIBE = "frontend.subrequests.describe"
VERSION = "1.0.0"
_RESULT = ({"name": "result.json", "description": ""}, {"name": "result.txt", "description": ""})
_DESCRIPTIONS = {
    OUTLINE: "List all parameters current build target supports",
    TARGETS: "List all targets current build supports",
    DESCRIBE: "List available subrequest types",
}


def definitions(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "version": VERSION,
            "type": "rpc",
            "description": _DESCRIPTIONS[name],
            "opts": [{"name": "target", "description": "Target build stage"}] if name == OUTLINE else _none(name),
            "inputs": None,
            "metadata": _RESULT,
            "refs": None,
        }
        for name in names
    ]


def _none(name: str) -> list[object] | None:
    return [] if name == TARGETS else None


def encoded(document: object, text: str) -> dict[str, bytes]:
    """Return an answer as a result's metadata."""
    written = json.dumps(document, indent=2, ensure_ascii=False)
    for char, escape in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        written = written.replace(char, escape)
    return {"result.json": written.encode(), "result.txt": text.encode(), "version": VERSION.encode()}


def location_of(location: Location) -> dict[str, object]:
    """Return lines as BuildKit's `pb.Location` is written in JSON: a range a line."""
    lines = range(location.first, location.last + 1)
    return {"ranges": [{"start": {"line": line}, "end": {"line": line}} for line in lines]}


def table(rows: Sequence[Sequence[str]], *, padding: int) -> str:
    """Align columns by spaces, as Go's tabwriter does: the last is left as it is."""
    widths = [max(len(row[column]) for row in rows) + padding for column in range(len(rows[0]) - 1)]
    lines = ("".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows)
    return "".join(f"{line}\n" for line in lines)


def excerpt(filename: str, source: bytes, places: Sequence[Location]) -> str:
    """Show lines of a file, those that are meant with a sign, as BuildKit prints the source of an error."""
    lines = source.decode(errors="replace").split("\n")
    marked = {line for place in places for line in range(place.first, place.last + 1)}
    if not marked or not 0 < min(marked) <= len(lines):
        return ""
    first, last = _padded(min(marked), max(marked), len(lines))
    shown = [f"{filename}:{min(marked)}", "-" * 20]
    for number in range(first, last + 1):
        sign = ">>>" if number in marked else "   "
        shown.append(f" {number:>3} | {sign} {lines[number - 1]}")
    return "\n".join([*shown, "-" * 20, ""])


def _padded(first: int, last: int, count: int) -> tuple[int, int]:
    """Add lines around: two on each side of one line, one around several, more where the file ends on a side."""
    last = min(last, count)
    added, wanted = 0, 4 if first == last else 2
    while added < wanted:
        added += 1 + (first > 1) + (last < count)
        first, last = max(first - 1, 1), min(last + 1, count)
    return first, last
