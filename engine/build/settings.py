"""The builder's settings: what `builder` in `daemon.json` says, and what holds where it says nothing."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

_GIB = 1 << 30
_PERCENT = {"reserved": 10, "used": 80, "free": 20}
_SHORT_LIVED_PERCENT = math.e * math.pi * (1 + math.sqrt(5)) / 2
"""What sources and cache mounts may take of the reserved space: BuildKit's figure."""

_SHORT_LIVED_LEAST = 512_000_000
_SHORT_LIVED = ("source.local", "exec.cachemount", "source.git.checkout")
_HOUR_NS = 3600 * 1_000_000_000


@dataclass(frozen=True, slots=True)
class GcPolicy:
    """What goes from the build cache: what matches, where a limit is passed, and was not used for so long."""

    all: bool = False
    filters: tuple[tuple[str, str], ...] = ()
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0
    keep_duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class BuilderConfig:
    """`gc_policies` None: those of dockerd, with the default sizes."""

    gc_enabled: bool = True
    gc_policies: tuple[GcPolicy, ...] | None = None
    default_reserved_space: int = 0
    default_max_used_space: int = 0
    default_min_free_space: int = 0
    entitlements: frozenset[str] = frozenset(("network.host", "device"))
    """What a client may allow its build: as Docker 29, devices too."""

    def policies(self, directory: Path) -> tuple[GcPolicy, ...]:
        """Return what to collect by; sizes that nobody set depend on the disk that `directory` is on."""
        if self.gc_policies is not None:
            return self.gc_policies
        reserved, used, free = (
            self.default_reserved_space,
            self.default_max_used_space,
            self.default_min_free_space,
        )
        if not (reserved or used or free):
            total = shutil.disk_usage(directory).total
            reserved, used, free = ((total * percent // 100 // _GIB + 1) * 10**9 for percent in _PERCENT.values())
        short_lived = max(round(reserved / 100 * _SHORT_LIVED_PERCENT), _SHORT_LIVED_LEAST)
        return (
            *(
                GcPolicy(filters=(("type", kind),), max_used_space=short_lived, keep_duration_ns=48 * _HOUR_NS)
                for kind in _SHORT_LIVED
            ),
            GcPolicy(False, (), reserved, used, free, keep_duration_ns=60 * 24 * _HOUR_NS),
            GcPolicy(False, (), reserved, used, free),
            GcPolicy(True, (), reserved, used, free),
        )
