"""Which OCI runtime a container has, by the name in its host config: lightship's own, or one of the configuration's."""

from __future__ import annotations

from ..config import OWN_RUNTIMES, Runtime
from ..errors import InvalidArgument
from .host import Host


def is_own(name: str) -> bool:
    return not name or name in OWN_RUNTIMES


def find(name: str, host: Host) -> Runtime | None:
    """Return what to run for a container, None for lightship's own; the configuration may have changed since."""
    if is_own(name):
        return None
    if name not in host.runtimes:
        raise InvalidArgument(f"unknown or invalid runtime name: {name}")
    return host.runtimes[name]
