"""Parser directives: the `# escape=`, `# syntax=` and `# check=` comments on top of a Dockerfile."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from ...errors import InvalidArgument
from ..graph import Location

_NAMES = ("syntax", "escape", "check")
_DIRECTIVE = re.compile(r"([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")
BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class Directive:
    name: str
    value: str
    location: Location


@dataclass(slots=True)
class Directives:
    """Reads lines as long as they are directives; the first that is none ends it."""

    comment: str = "#"
    line: int = 0
    _seen: set[str] = field(default_factory=set)
    _is_done: bool = False

    def read(self, line: str) -> Directive | None:
        """Raises InvalidArgument where one is given twice."""
        self.line += 1
        if self._is_done:
            return None
        match = _DIRECTIVE.match(line.removeprefix(self.comment).lstrip()) if line.startswith(self.comment) else None
        name = match[1].lower() if match else ""
        if not match or name not in _NAMES:
            self._is_done = True
            return None
        if name in self._seen:
            raise InvalidArgument(f"only one {name} parser directive can be used")
        self._seen.add(name)
        return Directive(name, match[2], Location(self.line, self.line))


def find(name: str, text: str, *, comment: str = "#") -> Directive | None:
    """Return a directive of a file; one that stands behind a mistake does not count."""
    text = text.removeprefix(BOM)
    directives = Directives(comment)
    if text.startswith("#!"):
        text = text.partition("\n")[2]
        directives.line = 1
    for line in text.splitlines():
        try:
            directive = directives.read(line)
        except InvalidArgument:
            return None
        if directive is None:
            return None
        if directive.name == name:
            return directive
    return None


def syntax(text: str) -> Directive | None:
    """Return the frontend that a file names, in any of the ways that BuildKit knows."""
    if directive := find("syntax", text) or find("syntax", text, comment="//"):
        return directive
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    value = document.get("syntax") if isinstance(document, dict) else None
    return Directive("syntax", value, Location(0, 0)) if isinstance(value, str) else None
