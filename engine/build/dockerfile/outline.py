"""Answers about a Dockerfile without building it: its targets, the arguments of one, and what can be asked.

Each answer is JSON and text, as BuildKit's subrequests have them; `docker build --call` prints either.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..graph import Location
from . import instructions as typed
from .checks import Checks, Choice
from .interpret import stages as read_stages
from .parser import parse
from .state import Asked, StageState
from .subrequests import DESCRIBE, OUTLINE, TARGETS, definitions, encoded, location_of, table


def describe() -> Mapping[str, bytes]:
    listed = definitions(OUTLINE, TARGETS, DESCRIBE)
    rows = [(entry["name"].removeprefix("frontend."), entry["version"], entry["description"]) for entry in listed]
    text = table([("NAME", "VERSION", "DESCRIPTION"), *rows], padding=1)
    return encoded(listed, text)


def targets(text: str, source: bytes) -> Mapping[str, bytes]:
    """List the stages. Raises DockerfileError."""
    stages, _ = read_stages(parse(text).nodes, Checks(Choice(), lambda finding: None))
    listed = [_target(stage.start, is_default=stage is stages[-1]) for stage in stages]
    rows = [("TARGET", "DESCRIPTION")]
    for target in listed:
        name = target.get("name", "")
        if target.get("default"):
            name = f"{name} (default)" if name else "(default)"
        rows.append((str(name), str(target.get("description", ""))))
    return encoded({"targets": listed, "sources": [base64.b64encode(source).decode()]}, table(rows, padding=1))


def _target(start: typed.From, *, is_default: bool) -> dict[str, object]:
    fields = {
        "name": start.stage,
        "default": is_default,
        "description": start.description,
        "base": start.base,
        "platform": start.platform,
        "location": location_of(start.location),
    }
    return {name: value for name, value in fields.items() if value}


def outline(target: StageState, source: bytes) -> Mapping[str, bytes]:
    """Tell what a target asks of whoever builds it."""
    arguments = _arguments(target)
    secrets = _wanted(target, lambda asked: asked.secrets)
    ssh = _wanted(target, lambda asked: asked.ssh)
    fields = {
        "name": target.start.stage,
        "description": target.start.description,
        "args": arguments,
        "secrets": secrets,
        "ssh": ssh,
        "sources": [base64.b64encode(source).decode()],
    }
    document = {name: value for name, value in fields.items() if value}
    return encoded(document, _outline_text(target.start, arguments, secrets, ssh))


def _outline_text(
    start: typed.From,
    arguments: Sequence[Mapping[str, object]],
    secrets: Sequence[Mapping[str, object]],
    ssh: Sequence[Mapping[str, object]],
) -> str:
    parts = []
    if start.stage or start.description:
        rows = [("TARGET:", start.stage or "(default)")]
        rows += [("DESCRIPTION:", start.description)] if start.description else []
        parts.append(table(rows, padding=1))
    if arguments:
        rows3 = [tuple(str(entry.get(key, "")) for key in ("name", "value", "description")) for entry in arguments]
        parts.append(table([("BUILD ARG", "VALUE", "DESCRIPTION"), *rows3], padding=3))
    for heading, entries in (("SECRET", secrets), ("SSH", ssh)):
        if entries:
            rows2 = [(str(entry["name"]), "true" if entry.get("required") else "") for entry in entries]
            parts.append(table([(heading, "REQUIRED"), *rows2], padding=3))
    return "".join(f"{part}\n" for part in parts)


def _related(target: StageState) -> list[StageState]:
    """Return a stage and all that it stands on or takes from."""
    found: list[StageState] = []
    waiting = [target]
    while waiting:
        state = waiting.pop(0)
        if state not in found:
            found.append(state)
            waiting += [*([state.base] if state.base else []), *state.needs]
    return found


def _arguments(target: StageState) -> list[dict[str, object]]:
    found: dict[str, tuple[int, dict[str, object]]] = {}
    for state in _related(target):
        for name in sorted(_all_used(state.asked)):
            info = state.asked.arguments.get(name)
            if info is None or name in found:
                continue
            fields: dict[str, object] = {
                "name": name,
                "description": info.argument.description,
                "value": info.value,
                "location": location_of(info.location),
            }
            entry = {key: value for key, value in fields.items() if value or key == "name"}
            found[name] = (info.location.first, entry)
    return [entry for _, entry in sorted(found.values(), key=lambda item: item[0])]


def _all_used(asked: Asked) -> set[str]:
    """Return what is used, and what defaults of it are made of."""
    used: set[str] = set()
    waiting = list(asked.used)
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            waiting += asked.arguments[name].needs if name in asked.arguments else ()
    return used


def _wanted(target: StageState, of: Callable[[Asked], Mapping[str, tuple[bool, Location]]]) -> list[dict[str, object]]:
    found: dict[str, tuple[bool, Location]] = {}
    for state in _related(target):
        for name, entry in of(state.asked).items():
            found.setdefault(name, entry)
    ordered: Iterable[tuple[str, tuple[bool, Location]]] = sorted(found.items(), key=lambda item: item[1][1].first)
    return [
        {"name": name, **({"required": True} if is_required else {}), "location": location_of(location)}
        for name, (is_required, location) in ordered
    ]
