"""The options of `lightshipd` that say which OCI runtimes there are beside lightship's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine.config import OWN_RUNTIMES, Runtime

RESERVED = OWN_RUNTIMES[0]
SHIM = OWN_RUNTIMES[1]
"""The one containerd shim that is understood: what it is told is which program to run."""
_SHIM_OPTIONS = {"BinaryName"}


def read_flag(text: str) -> tuple[str, Runtime]:
    """Read `name=path`."""
    name, _, path = (part.strip() for part in text.partition("="))
    if not name or not path:
        raise ValueError(f"invalid runtime argument: {text}")
    if name.lower() == RESERVED:
        raise ValueError(f"runtime name '{RESERVED}' is reserved")
    return name.lower(), Runtime(path)


def read_file(value: Any) -> dict[str, Runtime]:
    """Read the object `runtimes`."""
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise ValueError("runtimes: expected an object of objects")
    if RESERVED in value:
        raise ValueError(f"runtime name '{RESERVED}' is reserved")
    return {name: _read(name, item) for name, item in value.items()}


def _read(name: str, item: dict[str, Any]) -> Runtime:
    path, kind = item.get("path", ""), item.get("runtimeType", "")
    arguments, options = item.get("runtimeArgs") or [], item.get("options") or {}
    if not path and not kind:
        raise ValueError(f"runtime {name}: either a runtimeType or a path must be configured")
    if path and kind:
        raise ValueError(f"runtime {name}: cannot configure both path and runtimeType for the same runtime")
    if path:
        if options:
            raise ValueError(f"runtime {name}: options cannot be used with a path runtime")
        return Runtime(path, tuple(arguments))
    if arguments:
        raise ValueError(f"runtime {name}: args cannot be used with a runtimeType runtime")
    if kind != SHIM or set(options) - _SHIM_OPTIONS:
        raise ValueError(f"runtime {name}: only {SHIM} with the option BinaryName is supported as a runtimeType")
    return Runtime(options.get("BinaryName", RESERVED))


def check_default(name: str, runtimes: Mapping[str, Runtime]) -> None:
    if name not in OWN_RUNTIMES and name not in runtimes:
        raise ValueError(f"specified default runtime '{name}' does not exist")
