"""What the daemon asks of a shim's container: each public method named as an operation takes the message and the
descriptors that came with it, and returns the result.

`server.py` calls them and carries what is told; the runtime does the kernel's work. What happens without being asked
for is in `life.py`.
"""

from __future__ import annotations

import os

from ..runtime import container as own_runtime
from .create import keep_resources, open_log
from .health import HealthCheck
from .life import Life
from .protocol import PACKED, Failure, FdSet, unpack
from .restart import RestartPolicy
from .run import in_worker
from .state import CREATED, EXITED, PAUSED, RESTARTING, RUNNING, State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .life import Message


class Container(Life):
    """The operations."""

    def create(self, message: Message, fds: FdSet) -> Message:
        if self._state is not None:
            raise Failure("conflict", f"task {message['id']} exists already")
        attaches = [(attach, fds.steal(attach["fd"])) for attach in message.get("attach", ())]
        self._held_fds = fds.steal_all()
        if PACKED in self._held_fds:
            self._held_fds |= unpack(self._held_fds.pop(PACKED))
        self._proxy.serve(self._held_fds, message.get("proxied") or {})
        state = self._state = State(message["id"], message["exit_path"])
        self._policy = RestartPolicy(message.get("restart"))
        state.restart_count = self._policy.count
        if health := message.get("health"):
            self._health = HealthCheck(
                self._loop,
                self._bundle,
                health,
                children=self._children,
                tell=self._tell_health,
                on_unhealthy=self._end,
            )
        self._log = open_log(message.get("log"))
        self._options = {option: message.get(option, False) for option in ("tty", "open_stdin", "stdin_once")}
        start = message.get("start", False)
        run = self._new_run(start=start)
        for attach, fd in attaches:
            self._attachments.add(run.stdio, attach, fd)
        result = {"pid": state.pid, "shim_pid": os.getpid()}
        return result | self._started(state) if start else result

    def start(self, _message: Message, _fds: FdSet) -> Message:
        state = self._created()
        if state.status != CREATED:
            raise Failure("conflict", f"task {state.id} is {state.status}")
        in_worker(lambda: self._runtime.start(self._bundle))
        return self._started(state)

    def listen(self, _message: Message, _fds: FdSet) -> Message:
        """Tell a daemon that has come what none has noted, in order; it comes before the answer."""
        if self._state is not None:
            for event in list(self._state.untold):
                self._tell_kept(event)
        return {}

    def kill(self, message: Message, _fds: FdSet) -> Message:
        """Signal the first process, all of the container's with `all`, or an exec'd one.

        `by_user` remembers a manual stop, `final` that it is to stay stopped. A container that waits for its restart
        gets no signal, but stops with `final`.
        """
        number = message["signal"]
        if "exec_id" in message:
            self._execs.get(message["exec_id"]).kill(number)
            return {}
        state = self._created()
        if state.status == EXITED:
            raise Failure("not_found", f"task {state.id} has exited")
        self._policy.stopped_by_user = self._policy.stopped_by_user or message.get("by_user", False)
        self._policy.canceled = self._policy.canceled or message.get("final", False)
        if state.status == RESTARTING:
            if self._policy.canceled:
                self._give_up(None)
        elif message.get("all"):
            in_worker(lambda: self._runtime.kill(self._bundle, number, all=True))
        else:
            self._signal(number)
        return {}

    def pause(self, _message: Message, _fds: FdSet) -> Message:
        state = self._running(RUNNING)
        if self._health is not None:
            self._health.stop()
        in_worker(lambda: self._runtime.pause(self._bundle))
        state.status = PAUSED
        return {}

    def resume(self, _message: Message, _fds: FdSet) -> Message:
        state = self._running(PAUSED)
        in_worker(lambda: self._runtime.resume(self._bundle))
        state.status = RUNNING
        if self._health is not None:
            self._health.resume()
        return {}

    def resize(self, message: Message, _fds: FdSet) -> Message:
        run = self._alive()
        stdio = self._execs.get(message["exec_id"]).stdio if "exec_id" in message else run.stdio
        if not stdio.tty:
            raise Failure("invalid_argument", "the process has no terminal")
        stdio.resize(height=message["height"], width=message["width"])
        return {}

    def pids(self, _message: Message, _fds: FdSet) -> Message:
        self._alive()
        return {"pids": in_worker(lambda: self._runtime.pids(self._bundle))}

    def stats(self, _message: Message, _fds: FdSet) -> Message:
        self._alive()
        return {"stats": in_worker(lambda: own_runtime.cgroup(self._bundle).stats())}

    def update(self, message: Message, _fds: FdSet) -> Message:
        """Change limits (an OCI linux.resources object), or what the next exit leads to."""
        self._created()
        if "restart" in message:
            self._policy.set(message["restart"])
        if resources := message.get("resources"):
            self._alive()

            def apply() -> None:
                self._runtime.update(self._bundle, resources)
                keep_resources(self._bundle, resources)

            in_worker(apply)
        return {}

    def proxy(self, message: Message, _fds: FdSet) -> Message:
        """Change where published ports lead that the shim serves itself."""
        self._proxy.serve(self._held_fds, message["proxied"])
        return {}

    def attach(self, message: Message, fds: FdSet) -> Message:
        stdio = self._alive().stdio
        attach_id = self._attachments.add(stdio, message, fds.steal("client"))
        return {"attach_id": attach_id, "log_position": self._log.position() if self._log else None}

    def attach_release(self, message: Message, _fds: FdSet) -> Message:
        self._attachments.release(message["attach_id"])
        return {}

    def exec(self, message: Message, fds: FdSet) -> Message:
        state, exec_id = self._running(RUNNING), message["exec_id"]
        if exec_id in state.execs:
            raise Failure("conflict", f"exec {exec_id} exists already")
        client_fd = fds.steal("client") if message.get("attach") else -1
        try:
            executed = self._execs.start(message)
        except BaseException:
            # The daemon still has the connection, and the error to write into it: no shutdown here
            if client_fd >= 0:
                os.close(client_fd)
            raise
        state.execs[exec_id] = executed.report()
        if message.get("attach"):
            self._attachments.add(executed.stdio, message["attach"], client_fd, exec_id=exec_id)
        return {"pid": executed.pid}

    def state(self, _message: Message, _fds: FdSet) -> Message:
        if self._state is None:
            return {"status": None}
        report = self._state.report() | {"shim_pid": os.getpid()}
        report["log_position"] = self._log.position() if self._log else None
        report["attached"] = len(self._run.stdio.clients) if self._run else 0
        report["health"] = self._health.report() if self._health else None
        return report
