"""A container in the daemon's memory: its record, what only matters while the daemon runs, and its state transitions.

The verbs (`start`, `stop`, `exits`, …) change it under `lock` and save it through the registry. Readers never lock:
everything runs in one event loop and a transition has no await in it.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from ...openapi.types.model import given
from ...openapi.types.networks import EndpointSettings, NetworkSettings
from ..errors import Conflict
from ..times import human_duration
from . import health
from .record import ContainerRecord, State
from .wait import Waiters, outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..idmap import IdMap
    from ..shim.client import Task
    from ..shim.messages import Started
    from .attach import PendingClient
    from .host import Host

STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")


class Container:
    """One container.

    `task` is there while it runs; `pending` are the attached clients of one that does not yet; `removing` is set while
    a removal is under way, `restarting_by_user` during `docker restart`, which keeps AutoRemove from striking.
    """

    __slots__ = (
        "lock",
        "pending",
        "record",
        "removed",
        "removing",
        "restarting_by_user",
        "task",
        "waiters",
    )

    def __init__(self, record: ContainerRecord) -> None:
        self.record = record
        self.lock = asyncio.Lock()
        self.waiters = Waiters()
        self.task: Task | None = None
        self.pending: list[PendingClient] = []
        self.removing = False
        self.removed = False
        self.restarting_by_user = False

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def name(self) -> str:
        """The name as people write it, without the API's slash."""
        return self.record.name.removeprefix("/")

    @property
    def state(self) -> State:
        return self.record.state

    @property
    def tty(self) -> bool:
        return self.record.config.tty

    @property
    def runtime(self) -> str:
        """The name of its OCI runtime."""
        return given(self.record.host_config.runtime, "")

    def id_map(self, host: Host) -> IdMap | None:
        """Return which ids of the host its ids are, None for the host's own."""
        return None if self.record.host_config.userns_mode == "host" else host.id_map

    def status(self) -> str:
        """The one word of `State.Status`."""
        state = self.state
        if state.running:
            return "paused" if state.paused else "restarting" if state.restarting else "running"
        if self.removing:
            return "removing"
        if state.dead:
            return "dead"
        return "exited" if state.started_ns else "created"

    def status_text(self) -> str:
        """The sentence in the STATUS column of `docker ps`."""
        state, status = self.state, self.status()
        now = time.time_ns()
        if status in ("running", "paused"):
            return f"Up {human_duration(now - state.started_ns)}{' (Paused)' if state.paused else health.suffix(state)}"
        if status == "restarting":
            return f"Restarting ({state.exit_code}) {human_duration(now - state.finished_ns)} ago"
        if status == "exited":
            if not state.finished_ns:
                return ""
            return f"Exited ({state.exit_code}) {human_duration(now - state.finished_ns)} ago"
        return {"removing": "Removal In Progress", "dead": "Dead"}.get(status, "Created")

    def running_task(self) -> Task:
        """Return the task; raise Conflict where the container does not run."""
        if not self.state.running or self.task is None:
            raise Conflict(f"container {self.id} is not running")
        return self.task

    def set_running(self, task: Task, *, started_ns: int) -> None:
        self.task = task
        self.record.started_before = True
        self._run(pid=task.pid, started_ns=started_ns)

    def restarted(self, event: Started) -> None:
        """Run again."""
        self._run(pid=event.pid, started_ns=event.started_ns)
        self.record.restart_count = event.restart_count
        if self.record.network.sandbox_key:
            self.record.network.sandbox_key = f"/proc/{event.pid}/ns/net"

    def _run(self, *, pid: int, started_ns: int) -> None:
        self.record.state = State(
            running=True,
            pid=pid,
            started_ns=started_ns,
            finished_ns=self.state.finished_ns,
            health=health.at_start(self.record),
        )

    def set_restarting(self, exit_code: int, *, finished_ns: int, restart_count: int) -> None:
        """Wait for the shim's restart; it counts as running meanwhile."""
        self.set_exited(exit_code, finished_ns=finished_ns, task=self.task)
        self.state.running = self.state.restarting = True
        self.record.restart_count = restart_count

    def set_exited(self, exit_code: int, *, finished_ns: int, task: Task | None = None) -> None:
        """Become stopped; to be saved before `tell_exit`."""
        state = self.state
        self.task = task
        self.record.state = State(
            oom_killed=state.oom_killed,
            dead=state.dead,
            exit_code=exit_code,
            error=state.error,
            started_ns=state.started_ns,
            finished_ns=finished_ns,
            health=health.at_end(state.health),
        )

    def tell_exit(self) -> None:
        """Answer those who wait for it to stop."""
        self.waiters.notify_exit(outcome(self))

    def tell_removal(self) -> None:
        """Answer everyone: it is gone, and this was its last exit code."""
        self.removed = True
        self.state.error = ""
        self.waiters.notify_removal(outcome(self))

    def clear_network(self) -> None:
        """Forget addresses and ports, keeping what was asked for, as dockerd shows a stopped container."""
        kept = {
            name: EndpointSettings(
                ipam_config=endpoint.ipam_config,
                links=endpoint.links,
                aliases=endpoint.aliases,
                driver_opts=endpoint.driver_opts,
                gw_priority=endpoint.gw_priority,
                network_id=endpoint.network_id,
                dns_names=endpoint.dns_names,
            )
            for name, endpoint in (self.record.network.networks or {}).items()
        }
        self.record.network = NetworkSettings(ports={}, networks=kept)

    def attributes(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """The attributes of an event about it."""
        attributes = {**(extra or {}), **(self.record.config.labels or {})}
        if self.record.config.image:
            attributes["image"] = self.record.config.image
        attributes["name"] = self.name
        return attributes
