"""What a task has come to: kept in memory while the shim lives, and on disk for good whenever its process ends.

The exit record is renamed into place before anyone is told, so that a daemon that was not there finds it. What no
daemon has noted yet is kept too, the newest of it: the next one is told in order, or finds it in the exit record.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CREATED, RUNNING, PAUSED, RESTARTING, EXITED = "created", "running", "paused", "restarting", "exited"
MAX_UNTOLD = 32
"""How many events are kept for a daemon that is not there; each is a hundred bytes."""


class State:
    """The answer to `state`, and the content of the exit record once `exit_code` is there."""

    def __init__(self, id: str, exit_path: str) -> None:
        self.id = id
        self.status = CREATED
        self.pid = 0
        self.started_ns = 0
        self.exit_code: int | None = None
        self.exited_ns = 0
        self.oom = False
        self.restart_count = 0
        self.execs: dict[str, dict[str, Any]] = {}
        self.untold: list[dict[str, Any]] = []
        self._exit_path = exit_path
        self.forget_exit()

    def report(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "status": self.status,
            "pid": self.pid,
            "started_ns": self.started_ns,
            "exit_code": self.exit_code,
            "exited_ns": self.exited_ns,
            "oom": self.oom,
            "restart_count": self.restart_count,
            "execs": self.execs,
        }

    def keep(self, event: dict[str, Any]) -> None:
        """Keep an event until it is noted; where nobody comes, the oldest give way."""
        self.untold.append(event)
        del self.untold[:-MAX_UNTOLD]

    def noted(self, event: dict[str, Any]) -> None:
        """Forget an event that a daemon has noted."""
        self.untold = [kept for kept in self.untold if kept is not event]

    def write_exit(self) -> None:
        """Make the exit durable against the death of any process (not against a power cut, which ends the task)."""
        temporary = f"{self._exit_path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(self.report() | {"untold": self.untold}, file)
        os.rename(temporary, self._exit_path)

    def forget_exit(self) -> None:
        """It is about to run (again): what is on disk is not how it ended."""
        try:
            os.unlink(self._exit_path)
        except FileNotFoundError:
            pass
