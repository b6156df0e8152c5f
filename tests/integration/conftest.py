"""Integration tests put what they make into namespaces and directories of their own, and leave the host as it was."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


def state_of_host() -> dict[str, set[str]]:
    """The mounts of this run's own mount namespace, and its network namespace's links."""
    return {
        "mounts": {line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "children": {
            f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}"
            for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        },
    }


@pytest.fixture(autouse=True)
def host_is_left_as_it_was(isolated: None) -> Iterator[None]:
    before = state_of_host()
    yield
    after = state_of_host()
    found = {kind: sorted(after[kind] - before[kind]) for kind in after if after[kind] - before[kind]}
    assert not found, f"left behind on the host: {found}"
