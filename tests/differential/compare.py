"""What differs between two answers, as paths into them: `body.HostConfig.Init`, `out[2]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NOTHING = object()


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield (path, dockerd's, lightship's) for every leaf that is not the same."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted({*theirs, *ours}):
            below = f"{path}.{key}" if path else key
            yield from differences(theirs.get(key, _NOTHING), ours.get(key, _NOTHING), below)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for number, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{path}[{number}]")
    elif type(theirs) is not type(ours) or theirs != ours:
        yield path, _shown(theirs), _shown(ours)


def _shown(value: object) -> str:
    return "(not there)" if value is _NOTHING else repr(value)
