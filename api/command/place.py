"""Where an engine has its things: the host's usual one, or a private one below a root of its own.

Engines that `up` started are noted in a directory of the host, so that `status` knows them until they are gone.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from ...engine.config import DEFAULT_DATA_ROOT, DEFAULT_EXEC_ROOT, DEFAULT_HOST

_KNOWN = Path("/run/lightship-engines")
_LONGEST_SOCKET_PATH = 107  # sockaddr_un, unix(7)


@dataclass(frozen=True, slots=True)
class Place:
    """The paths of one engine; `root` is None for the host's usual one."""

    root: Path | None = None

    @property
    def name(self) -> str:
        return str(self.root or "(default)")

    @property
    def data_root(self) -> Path:
        return self.root / "data" if self.root else DEFAULT_DATA_ROOT

    @property
    def exec_root(self) -> Path:
        return self.root / "run" if self.root else DEFAULT_EXEC_ROOT

    @property
    def socket(self) -> Path:
        return self.root / "docker.sock" if self.root else Path(DEFAULT_HOST.removeprefix("unix://"))

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @property
    def pidfile(self) -> Path:
        return self.root / "lightshipd.pid" if self.root else Path("/run/lightshipd.pid")

    @property
    def log(self) -> Path:
        return self.root / "lightshipd.log" if self.root else Path("/var/log/lightshipd.log")

    @property
    def netns(self) -> Path:
        """Where the network namespace of a private engine is kept."""
        assert self.root
        return self.root / "netns"

    @property
    def cgroup_parent(self) -> str:
        """A private engine's containers are apart from those of others."""
        digest = hashlib.sha256(os.fsencode(self.data_root)).hexdigest()
        return f"/lightship-{digest[:12]}"

    @property
    def is_too_long(self) -> bool:
        return len(os.fsencode(self.socket)) > _LONGEST_SOCKET_PATH

    def flags(self) -> list[str]:
        """What tells `lightshipd` of this place."""
        common = ["--host", self.host, "--pidfile", str(self.pidfile)]
        if self.root is None:
            return common
        return [
            *("--data-root", str(self.data_root)),
            *("--exec-root", str(self.exec_root)),
            *("--cgroup-parent", self.cgroup_parent),
            *common,
        ]

    def pid(self) -> int | None:
        """The engine's process, where it is the one that was started here: pids are used again."""
        try:
            pid = int(self.pidfile.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.pidfile) in command else None


def place_of(root: str | None) -> Place:
    return Place(Path(root).absolute()) if root else Place()


def note(place: Place) -> None:
    """Remember a private engine until the host is booted again."""
    if place.root:
        _KNOWN.mkdir(mode=0o700, parents=True, exist_ok=True)
        _link(place).unlink(missing_ok=True)
        _link(place).symlink_to(place.root)


def forget(place: Place) -> None:
    _link(place).unlink(missing_ok=True)


def known() -> list[Place]:
    """The host's usual engine, then the private ones; what was removed with its directory is forgotten."""
    found = [Place()]
    for link in sorted(_KNOWN.iterdir()) if _KNOWN.is_dir() else []:
        place = Place(link.readlink())
        if place.data_root.is_dir():
            found.append(place)
        else:
            link.unlink(missing_ok=True)
    return found


def _link(place: Place) -> Path:
    return _KNOWN / place.cgroup_parent.lstrip("/")
