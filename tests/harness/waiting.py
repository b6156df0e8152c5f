"""Waiting for what nothing tells: how tests see that something has come about."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

LIMIT_S = 60
"""How long anything may take that comes at once on an idle machine."""


def wait_for(condition: Callable[[], bool], timeout_s: float = LIMIT_S) -> None:
    """Until the condition holds; refused connections count as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)
