"""What the daemon asks of a shim and what a shim tells, as values; the daemon's side only.

`client.py` turns them into messages (`protocol.py`) and back.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..config import Runtime
from ..errors import KINDS, Error, Internal


@dataclass(frozen=True, slots=True)
class Attach:
    """How a client's connection is joined to a process's streams.

    `framed`: in stdcopy frames where there is no terminal. `prefix`: what was already read from the client. `hold`:
    send nothing before `Task.attach_release`.
    """

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    framed: bool = False
    detach_keys: str = ""
    prefix: bytes = b""
    hold: bool = False

    def message(self) -> dict[str, Any]:
        return {
            "stdin": self.stdin,
            "stdout": self.stdout,
            "stderr": self.stderr,
            "framed": self.framed,
            "detach_keys": self.detach_keys,
            "prefix": base64.b64encode(self.prefix).decode(),
            "hold": self.hold,
        }


class Restart(msgspec.Struct, frozen=True):
    """A restart policy; `maximum` 0: as often as it takes. `count` restarts have been before this shim's time."""

    name: str = "no"
    maximum: int = 0
    count: int = 0


class UnhealthyRestart(msgspec.Struct, frozen=True):
    """How a container that has become unhealthy is ended, to be started again."""

    stop_signal: int
    limit_s: float


class HealthCheck(msgspec.Struct, frozen=True):
    """What is executed to see whether the container is healthy, and when."""

    args: list[str]
    interval_s: float
    timeout_s: float
    timeout_text: str
    start_period_s: float
    start_interval_s: float
    retries: int
    restart: UnhealthyRestart | None = None


class LogConfig(msgspec.Struct, frozen=True):
    """Where and how the shim logs. `max_size` -1: never rotate; `attrs`: labels, env and tag for each record.

    `remote` is the server that gets the records, as `sender.py` wants it; then the file at `path` (none where it is
    empty) is a copy that can be read.
    """

    driver: str
    path: str = ""
    max_size: int = -1
    max_file: int = 1
    compress: bool = False
    attrs: dict[str, str] = {}
    remote: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task to be created. `fds` are held by the shim as long as it lives; "netns" becomes the network namespace.

    `seccomp` is the path of a compiled filter; `runtime` another OCI runtime than lightship's own; `clients` are
    (connection, how) of those attached from the beginning; `joins` are the namespaces (by their OCI names) of other
    tasks that this one runs in, by the tasks' ids. `proxied` says of those of `fds` that are sockets of published ports
    whether the shim is to serve them, and where they lead.
    The caller keeps all descriptors open until the task is there and closes its own then.
    """

    id: str
    spec: dict[str, Any]
    rootfs: list[dict[str, Any]]
    log: LogConfig | None = None
    seccomp: str | None = None
    runtime: Runtime | None = None
    restart: Restart = Restart()
    health: HealthCheck | None = None
    joins: dict[str, str] = field(default_factory=dict)
    open_stdin: bool = False
    stdin_once: bool = False
    fds: dict[str, int] = field(default_factory=dict)
    proxied: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    clients: list[tuple[int, Attach]] = field(default_factory=list)
    start: bool = False
    trace: list[tuple[int, str, str]] = field(default_factory=list)
    """What the daemon has done for it, and when, as `runtime.trace` has it."""


class LogPosition(msgspec.Struct, frozen=True):
    """Everything before `offset` in the file at `path` was logged before; everything after it comes to the client."""

    path: str
    offset: int


class Attached(msgspec.Struct, frozen=True):
    attach_id: str
    log_position: LogPosition | None


class ExecState(msgspec.Struct, frozen=True):
    pid: int
    exit_code: int | None
    exited_ns: int


class ProbeResult(msgspec.Struct, frozen=True):
    """How one execution of the health check ended."""

    start_ns: int
    end_ns: int
    exit_code: int
    output: str


class Health(msgspec.Struct, frozen=True):
    """What the health check has come to, with its last results."""

    status: str
    failing_streak: int = 0
    log: list[ProbeResult] = []


class TaskState(msgspec.Struct, frozen=True):
    """Everything about a task: what its shim says, or its exit record on disk. Times are nanoseconds, 0 for never.

    `untold`, on disk only, are the messages of events that no daemon had noted.
    """

    id: str
    status: str
    pid: int
    started_ns: int
    exit_code: int | None
    exited_ns: int
    oom: bool
    execs: dict[str, ExecState]
    restart_count: int = 0
    shim_pid: int = 0
    attached: int = 0
    health: Health | None = None
    untold: list[dict[str, Any]] = []
    log_position: LogPosition | None = None


@dataclass(frozen=True, slots=True)
class Exited:
    """The container's first process ended, its output is logged and the exit is on disk.

    With `restarting` the shim starts it again in a moment.
    """

    exit_code: int
    exited_ns: int
    oom: bool
    started_ns: int = 0
    restart_count: int = 0
    restarting: bool = False


@dataclass(frozen=True, slots=True)
class Started:
    """The shim has restarted the container."""

    pid: int
    started_ns: int
    restart_count: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """There is no restart after all: a user did not want it any more, or it failed."""

    error: Error | None


@dataclass(frozen=True, slots=True)
class ProbeStarted:
    """The health check is executed now."""

    exec_id: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class Probed:
    """The health check has ended; `exec_exit_code` is None where it could not be started."""

    exec_id: str
    exec_exit_code: int | None
    result: ProbeResult
    status: str
    failing_streak: int


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """The container has become healthy or unhealthy."""

    status: str
    time_ns: int


@dataclass(frozen=True, slots=True)
class ExecExited:
    """An exec'd process ended; its client's connection is closed after the event was dealt with."""

    exec_id: str
    exit_code: int
    exited_ns: int


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The kernel killed a process for going over the container's memory limit."""


@dataclass(frozen=True, slots=True)
class Detached:
    """A client left by its detach keys."""

    attach_id: str
    exec_id: str | None


Event = Exited | Started | GivenUp | ExecExited | OutOfMemory | Detached | ProbeStarted | Probed | HealthChanged


def is_end(message: dict[str, Any]) -> bool:
    """Whether the shim ends after this event."""
    return message["event"] == "given_up" or (message["event"] == "exit" and not message.get("restarting"))


def raised(error: dict[str, Any]) -> Error:
    """Return an error of a message as the exception that it was."""
    return KINDS.get(error["kind"], Internal)(error["message"])


def event(message: dict[str, Any]) -> Event:
    fields = {name: value for name, value in message.items() if name not in ("event", "ack")}
    match message["event"]:
        case "exit":
            return Exited(**fields)
        case "started":
            return Started(**fields)
        case "given_up":
            return GivenUp(raised(fields["error"]) if fields["error"] else None)
        case "exec_exit":
            return ExecExited(**fields)
        case "oom":
            return OutOfMemory()
        case "attach_detached":
            return Detached(fields["attach_id"], fields.get("exec_id"))
        case "probe_started":
            return ProbeStarted(**fields)
        case "probed":
            return Probed(**fields | {"result": msgspec.convert(fields["result"], ProbeResult)})
        case "health_status":
            return HealthChanged(**fields)
    raise ValueError(f"unknown event {message['event']!r}")
