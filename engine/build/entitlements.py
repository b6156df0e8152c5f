"""What a client allows its build beyond the usual: the host's network, a command without confinement, devices.

Devices are those of CDI. `device` alone allows all of them; `device=NAME` one, a kind or a class, and
`device=NAME,alias=OTHER` has the Dockerfile call it otherwise. What a device's own file allows needs nobody's leave.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from .. import booleans, errors
from ..containers import cdi
from .dockerfile.mounts import fields
from .graph import Run

_KNOWN = ("network.host", "security.insecure", "device")
_CLASS = "org.mobyproject.buildkit.device.class"
_AUTO_ALLOW = "org.mobyproject.buildkit.device.autoallow"


@dataclass
class _Granted:
    """The devices that were allowed: by name, what an alias stands for (empty where a name is none)."""

    has_all: bool = False
    names: dict[str, str] = field(default_factory=dict)


def check(asked: Collection[str], allowed: Collection[str]) -> None:
    """Refuse what is not known, and what the engine's configuration keeps from clients. Raises the engine's errors."""
    for text in sorted(asked):
        name = "device" if text.startswith("device=") else text
        if name not in _KNOWN:
            raise errors.InvalidArgument(f"unknown entitlement {text}")
        if name not in allowed:
            raise errors.Forbidden(f"granting entitlement {name} is not allowed by build daemon configuration")
    _granted(asked)


def check_step(step: Run, asked: Collection[str]) -> None:
    """Refuse what the client did not allow a command, but for devices. Raises Forbidden."""
    if step.network == "host" and "network.host" not in asked:
        raise errors.Forbidden("failed to load LLB: network.host is not allowed")
    if step.is_insecure and "security.insecure" not in asked:
        raise errors.Forbidden("failed to load LLB: security.insecure is not allowed")


def devices(step: Run, asked: Collection[str], directories: Iterable[str]) -> list[str]:
    """Return the full names of the devices that a command gets. Raises NotFound, Forbidden."""
    if not step.devices:
        return []
    known, granted = cdi.described(directories), _granted(asked)
    given: dict[str, None] = {}
    wanted: dict[str, None] = {}
    for name, is_required in step.devices:
        alias = granted.names.get(name, "")
        found = _find(alias or name, known)
        if not found and is_required:
            raise errors.NotFound(f'failed to load LLB: required device "{name}" is not registered')
        (given if alias or granted.has_all else wanted).update(dict.fromkeys(found))
    allowed = {each for name, alias in granted.names.items() if not alias for each in _find(name, known)}
    refused = [each for each in wanted if each not in allowed and not _is_free(known[each])]
    if len(refused) == 1:
        raise errors.Forbidden(f"failed to load LLB: device {refused[0]} is requested by the build but not allowed")
    if refused:
        shown = ", ".join(refused)
        raise errors.Forbidden(f"failed to load LLB: devices {shown} are requested by the build but not allowed")
    return list(given | wanted)


def _granted(asked: Iterable[str]) -> _Granted:
    granted = _Granted()
    for text in sorted(asked):
        name, separator, rest = text.partition("=")
        if name == "device" and not (separator and rest):
            granted.has_all = True
        elif name == "device":
            device, *options = fields(rest)
            alias = ""
            for option in options:
                key, separator, alias = option.partition("=")
                if not separator:
                    raise errors.InvalidArgument(f'invalid device config "{option}"')
                if key != "alias":
                    raise errors.InvalidArgument(f'unknown device config key "{key}"')
            granted.names[alias or device] = device if alias else ""
    return granted


def _find(name: str, known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the devices of a name: one, all (`=*`) or the first of a kind, or those of a class."""
    kind, _, device = name.partition("=")
    of_kind = [each for each in sorted(known) if each.partition("=")[0] == kind]
    found = []
    if "/" in kind:
        found = {"": of_kind[:1], "*": of_kind}.get(device, [each for each in of_kind if each == name])
    return found or [each for each in sorted(known) if known[each].get(_CLASS) == name]


def _is_free(annotations: Mapping[str, str]) -> bool:
    try:
        return booleans.parse(annotations.get(_AUTO_ALLOW, "false"))
    except ValueError:
        return False
