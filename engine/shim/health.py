"""The health check: a probe is executed in the container again and again, and its results make a status.

Statuses, default values and the rules of the start period are dockerd's: "starting" until the first success or too
many failures in a row; failures within the start period do not count. Times between probes are from the end of one to
the start of the next. The last results are kept here for a daemon that comes later; `container.py` says when the
container starts, ends or is frozen. The probe's command is the daemon's to find out.
"""

from __future__ import annotations

import os
import signal
import time

from ..runtime import container as runtime
from ..runtime.errors import RuntimeFailure
from . import oci, protocol, worker
from .create import read_json
from .exec import LEFTOVER_OUTPUT_S, made_fds, read_filter
from .loop import READABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from .loop import Loop

    class Tell(Protocol):
        def __call__(self, event: dict[str, Any], *, keep: bool = False) -> None: ...


STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
MAX_OUTPUT_BYTES = 4096
MAX_RESULTS = 5
MAX_LOOKS = 100
QUIET_LOOKS = 2
LOOK_AGAIN_S = 0.002
READ_BYTES = 64 * 1024
FAILED_EXIT_CODE = -1
"""Of a probe that took too long or could not be started."""
KILLED_EXIT_CODE = 137
DEATH_SETTLES_S = 0.05


class HealthCheck:
    """`settings`: args, interval_s, timeout_s, timeout_text, start_period_s, start_interval_s, retries, and `restart`
    (stop_signal, limit_s) where an unhealthy container is to be restarted: `on_unhealthy(stop_signal, limit_s)`."""

    def __init__(
        self,
        loop: Loop,
        bundle: str,
        settings: dict[str, Any],
        *,
        children: dict[int, Callable[[int], None]],
        tell: Tell,
        on_unhealthy: Callable[[int, float], None],
    ) -> None:
        self._loop, self._bundle, self._settings = loop, bundle, settings
        self._children, self._tell, self._on_unhealthy = children, tell, on_unhealthy
        self._status = STARTING
        self._failing_streak = 0
        self._results: list[dict[str, Any]] = []
        self._started_s = 0.0
        self._timer: tuple[float, Callable[[], None]] | None = None
        self._probe: Probe | None = None

    def start(self) -> None:
        """The container has started, for the first time or again."""
        self._status, self._failing_streak = STARTING, 0
        self._started_s = time.monotonic()
        self.resume()

    def resume(self) -> None:
        """Go on after `stop`; the status stays until the next result."""
        self._timer = self._loop.call_later(self._interval_s(), self._run)

    def stop(self) -> None:
        """Probe no more, and drop the result of a probe that runs. dockerd calls that unhealthy, and so do we."""
        self._loop.cancel(self._timer)
        if self._probe is not None:
            self._probe.abandon()
            self._probe = None
        self._status = UNHEALTHY

    def report(self) -> dict[str, Any]:
        return {"status": self._status, "failing_streak": self._failing_streak, "log": self._results}

    def _interval_s(self) -> float:
        settings = self._settings
        is_starting = self._status == STARTING and time.monotonic() - self._started_s < settings["start_period_s"]
        interval_s: float = settings["start_interval_s"] if is_starting else settings["interval_s"]
        return interval_s

    def _run(self) -> None:
        probe = self._probe = Probe(self._loop, self._bundle, self._settings, on_done=self._done)
        self._tell({"event": "probe_started", "exec_id": probe.id, "time_ns": probe.started_ns})
        probe.start(self._children)

    def _done(self, probe: Probe, exit_code: int, output: str) -> None:
        """Note a probe's result, and tell of it."""
        self._probe = None
        result = {"start_ns": probe.started_ns, "end_ns": time.time_ns(), "exit_code": exit_code, "output": output}
        self._results = [*self._results[1 - MAX_RESULTS :], result]
        before = self._status
        self._judge(exit_code, probed_s=probe.started_s)
        told = {"exec_id": probe.id, "exec_exit_code": probe.exit_code, "result": result}
        told |= {"status": self._status, "failing_streak": self._failing_streak}
        self._tell({"event": "probed", **told})
        if self._status != before:
            self._tell({"event": "health_status", "status": self._status, "time_ns": result["end_ns"]}, keep=True)
        self.resume()
        if self._status == UNHEALTHY != before and (restart := self._settings.get("restart")):
            self._on_unhealthy(restart["stop_signal"], restart["limit_s"])

    def _judge(self, exit_code: int, *, probed_s: float) -> None:
        if exit_code == 0:
            self._status, self._failing_streak = HEALTHY, 0
            return
        if self._status == STARTING and probed_s - self._started_s < self._settings["start_period_s"]:
            return
        self._failing_streak += 1
        if self._failing_streak >= self._settings["retries"]:
            self._status = UNHEALTHY


class Probe:
    """One execution of the check. `on_done(probe, exit code, output)` is called once, unless it was abandoned."""

    def __init__(
        self, loop: Loop, bundle: str, settings: dict[str, Any], *, on_done: Callable[[Probe, int, str], None]
    ) -> None:
        self.id = os.urandom(32).hex()
        self.started_ns = time.time_ns()
        self.started_s = time.monotonic()
        self.exit_code: int | None = None
        self._loop, self._bundle, self._settings = loop, bundle, settings
        self._on_done: Callable[[Probe, int, str], None] | None = on_done
        self._pid = 0
        self._output = b""
        self._output_fd = -1
        self._is_late = False
        self._timer: tuple[float, Callable[[], None]] | None = None

    def start(self, children: dict[int, Callable[[int], None]]) -> None:
        self._output_fd, theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._output_fd, False)
        try:
            made, fds = worker.run(lambda: execute(self._bundle, self._settings["args"], theirs))
        except protocol.Failure as failure:
            self._close()
            self._done(FAILED_EXIT_CODE, oci.exec_failed(self._bundle) + failure.message)
            return
        finally:
            os.close(theirs)
        fds.close()  # it is our child: its number stays its own until it is reaped
        self._pid = made["pid"]
        children[self._pid] = self._exited
        self._loop.watch(self._output_fd, READABLE, self._ready)
        self._timer = self._loop.call_later(self._settings["timeout_s"], self._took_too_long)

    def abandon(self) -> None:
        """End it, and tell nobody."""
        self._on_done = None
        if self._pid and self.exit_code is None:
            self._kill()

    def _exited(self, exit_code: int) -> None:
        self._loop.cancel(self._timer)
        self.exit_code = exit_code
        self._take()
        if self._output_fd >= 0:
            # Someone it left behind has the other end; dockerd waits no longer either
            self._timer = self._loop.call_later(0 if self._is_late else LEFTOVER_OUTPUT_S, self._close_and_finish)
        elif exit_code == KILLED_EXIT_CODE:
            # A container that dies takes its probe with it, and the kernel tells of that first
            self._timer = self._loop.call_later(DEATH_SETTLES_S, self._finish)
        else:
            self._finish()

    def _ready(self, _events: int) -> None:
        self._take()
        if self._output_fd < 0 and self.exit_code is not None:
            self._loop.cancel(self._timer)
            self._finish()

    def _take(self) -> None:
        """Take what it says; what is too much is read and dropped, so that it never waits for us."""
        if self._output_fd < 0:
            return
        try:
            data = os.read(self._output_fd, READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close()
        elif len(self._output) <= MAX_OUTPUT_BYTES:
            self._output = (self._output + data)[: MAX_OUTPUT_BYTES + 1]

    def _close_and_finish(self) -> None:
        self._close()
        self._finish()

    def _close(self) -> None:
        if self._output_fd >= 0:
            self._loop.forget(self._output_fd)
            os.close(self._output_fd)
            self._output_fd = -1

    def _finish(self) -> None:
        is_cut = len(self._output) > MAX_OUTPUT_BYTES
        output = self._output[:MAX_OUTPUT_BYTES].decode("utf-8", "replace") + ("..." if is_cut else "")
        if self._is_late:
            text = f"Health check exceeded timeout ({self._settings['timeout_text']})"
            self._done(FAILED_EXIT_CODE, f"{text}: {output}" if output else text)
        else:
            self._done(self.exit_code or 0, output)

    def _done(self, exit_code: int, output: str) -> None:
        on_done, self._on_done = self._on_done, None
        if on_done is not None:
            on_done(self, exit_code, output)

    def _took_too_long(self) -> None:
        self._is_late = True
        self._kill()

    def _kill(self) -> None:
        def kill() -> tuple[dict[str, int], dict[str, int]]:
            kill_tree(self._bundle, self._pid)
            return {}, {}

        worker.run(kill)


def execute(bundle: str, args: list[str], output_fd: int) -> tuple[dict[str, int], dict[str, int]]:
    """In the worker: run the check as the container's own process is run, without a terminal and its input."""
    process: dict[str, Any] = read_json(f"{bundle}/config.json")["process"]
    process.pop("consoleSize", None)
    if process.get("terminal"):
        process["env"] = [variable for variable in process["env"] if variable != "TERM=xterm"]
    process |= {"args": args, "terminal": False, "keepsOrphans": True}
    null_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    stdio = runtime.Stdio(null_fd, output_fd, output_fd)
    made = oci.runtime_of(bundle).exec_process(
        bundle, process, stdio=stdio, seccomp=read_filter(read_json(f"{bundle}/task.json")["seccomp"])
    )
    return {"pid": made.pid}, made_fds(made)


def kill_tree(bundle: str, pid: int) -> None:
    """In the worker: kill a probe and all that descends from it, daemons too, until none is left.

    The probe stops first and dies last: as long as it is there it keeps its orphans, and stopped it remarks on no
    death. Another runtime's probe keeps none; of what it orphans only its session is found.
    """
    killed = {pid}
    quiet_looks = 0
    try:
        os.kill(pid, signal.SIGSTOP)
        for _ in range(MAX_LOOKS):
            found = _descendants(runtime.pids(bundle), killed, pid) - killed
            for one in sorted(found):  # parents first, who would remark on their children's death
                _kill(one)
            killed |= found
            # One that stops may be in the middle of a fork, and one that ends hides its children for a moment
            quiet_looks = 0 if found or _stat(pid)[0] == b"R" else quiet_looks + 1
            if quiet_looks == QUIET_LOOKS:
                break
            time.sleep(LOOK_AGAIN_S)
    except (RuntimeFailure, FileNotFoundError, ProcessLookupError):
        pass  # the container is gone, and all of it
    _kill(pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _descendants(pids: list[int], roots: set[int], session: int) -> set[int]:
    """Return those of `pids` that are in the session, or have an ancestor that is or that is a root."""
    parents: dict[int, int] = {}
    found = set(roots)
    for pid in pids:
        try:
            fields = _stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[pid] = int(fields[1])
        if int(fields[3]) == session:
            found.add(pid)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _stat(pid: int) -> list[bytes]:
    """Return what /proc/PID/stat says after the name: state, parent, process group, session…"""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()
