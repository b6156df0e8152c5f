"""Lists of CPUs and memory nodes as the kernel writes them: `0-3,7`."""

from __future__ import annotations

import re

_PART = re.compile(r"(\d+)(?:-(\d+))?")
_MAX_NUMBER = 8192


def parse(text: str) -> set[int]:
    """Return the numbers in the list; raise ValueError with dockerd's sentence where it is none."""
    numbers: set[int] = set()
    for part in text.split(",") if text else ():
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"invalid format: {text}")
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if first > last:
            raise ValueError(f"invalid format: {text}")
        if last > _MAX_NUMBER:
            raise ValueError(f"value of out range, maximum is {_MAX_NUMBER}")
        numbers.update(range(first, last + 1))
    return numbers
