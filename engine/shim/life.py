"""The one container of a shim, as it goes on by itself: started, watched, ended, restarted, and told of.

`container.py` adds what the daemon asks for. What only one run of the first process has is in `run.py`; here is what
stays: the log, the network's descriptors, the restart policy, the health check, and the execs.
"""

from __future__ import annotations

import os
import signal
import time
from functools import partial

from ..runtime import container as own_runtime
from . import oci
from .attach import Attachments
from .exec import Exec, Execs
from .health import HealthCheck
from .protocol import Failure
from .proxy import Proxy
from .restart import RestartPolicy
from .run import Run, in_worker
from .state import EXITED, RESTARTING, RUNNING, State
from .worker import describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .loop import Loop
    from .relay import Log
    from .stdio import Stdio

    Message = dict[str, Any]
    Tell = Callable[[Message, Callable[[bool], None] | None], None]


class Life:
    """`tell(event, then)` sends an event and calls `then(True)` when the daemon has noted it, or `then(False)` when it
    did not in time or there is none; without `then` nobody needs to note it."""

    def __init__(self, loop: Loop, bundle: str, *, tell: Tell, on_deleted: Callable[[], None]) -> None:
        self._loop = loop
        self._bundle = bundle
        self._tell = tell
        self._on_deleted = on_deleted
        self._runtime = oci.runtime_of(bundle)
        self._made = False
        self._deleted = False
        self._options: Message = {}
        self._state: State | None = None
        self._run: Run | None = None
        self._past: list[Stdio] = []
        self._policy = RestartPolicy()
        self._restart_timer: tuple[float, Callable[[], None]] | None = None
        self._health: HealthCheck | None = None
        self._log: Log | None = None
        self._children: dict[int, Callable[[int], None]] = {}
        self._execs = Execs(loop, bundle, self._children, on_exit=self._exec_exited, on_gone=self._end_if_idle)
        self._held_fds: dict[str, int] = {}
        self._proxy = Proxy(loop)
        self._attachments = Attachments(lambda where: tell({"event": "attach_detached"} | where, None))

    def reap(self) -> None:
        """Collect ended children: ours by their callbacks, and those that the container's processes left to us."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._children.pop(pid, None)
            if ended is not None:
                exit_code = os.waitstatus_to_exitcode(status)
                self._loop.call_later(0, partial(ended, exit_code if exit_code >= 0 else 128 - exit_code))

    def release_all(self) -> None:
        """Let held clients go on: the daemon that held them is gone."""
        self._attachments.release_all()

    @property
    def created(self) -> bool:
        return self._made

    def undo(self) -> None:
        """Remove what a failed create or start left."""
        self._children.clear()
        if self._made:
            in_worker(lambda: self._runtime.delete(self._bundle, force=True))
            self._made = False
        if self._run is not None:
            self._run.close()
        self._close_log()
        self._leave_network()

    def _new_run(self, *, start: bool) -> Run:
        state = self._state
        assert state is not None
        run = self._run = Run(
            self._loop,
            self._bundle,
            tty=self._options["tty"],
            stdin_once=self._options["stdin_once"],
            log=self._log,
            on_end=self._run_ended,
            on_oom=self._oom,
        )
        run.create(start=start, open_stdin=self._options["open_stdin"], netns_fd=self._held_fds.get("netns"))
        self._made = True
        state.pid, state.oom = run.pid, False
        self._children[run.pid] = self._init_exited
        return run

    def _started(self, state: State) -> Message:
        state.started_ns = time.time_ns()
        state.status = RUNNING
        if self._health is not None:
            self._health.start()
        return {"started_ns": state.started_ns}

    def _signal(self, number: int) -> None:
        if self._runtime is not own_runtime:
            # The first process may be a machine's, and know nothing of the container's signals
            in_worker(lambda: self._runtime.kill(self._bundle, number))
            return
        try:
            signal.pidfd_send_signal(self._alive().pidfd, number)
        except ProcessLookupError:
            raise Failure("not_found", f"task {self._created().id} has exited") from None

    def _oom(self) -> None:
        self._created().oom = True
        self._tell({"event": "oom"}, None)

    def _tell_health(self, event: Message, *, keep: bool = False) -> None:
        if keep:
            self._keep_and_tell(event)
        else:
            self._tell(event, None)

    def _end(self, stop_signal: int, limit_s: float) -> None:
        """End the first process by ourselves, to start it again."""
        self._policy.forced = True
        run = self._alive()
        self._signal(stop_signal)
        self._loop.call_later(limit_s, lambda: self._signal(signal.SIGKILL) if self._run is run and run.alive else None)

    def _exec_exited(self, executed: Exec) -> None:
        self._created().execs[executed.id] = executed.report()
        self._tell({"event": "exec_exit"} | executed.end(), lambda noted: self._exec_told(executed, noted))

    def _exec_told(self, executed: Exec, noted: bool) -> None:
        if noted:
            self._created().execs.pop(executed.id, None)
        executed.told()

    # The end of a run, and what comes after it

    def _init_exited(self, exit_code: int) -> None:
        if self._health is not None:
            self._health.stop()
        self._alive().exited(exit_code)

    def _run_ended(self) -> None:
        """The output is complete: restart the container, or be done with it. Written down before it is told."""
        state, run = self._created(), self._alive()
        state.exit_code, state.exited_ns = run.exit_code, run.exited_ns
        delay_s = self._policy.next_delay(run.exit_code, ran_s=(run.exited_ns - state.started_ns) / 1e9)
        state.restart_count = self._policy.count
        event = {
            "event": "exit",
            "exit_code": state.exit_code,
            "exited_ns": state.exited_ns,
            "started_ns": state.started_ns,
            "oom": state.oom,
            "restart_count": state.restart_count,
            "restarting": delay_s is not None,
        }
        if delay_s is None:
            self._finish(event)
            return
        state.status, state.pid = RESTARTING, 0
        state.execs.clear()
        self._restart_timer = self._loop.call_later(delay_s, self._restart)
        self._keep(event)
        run.finish()
        self._past = [stdio for stdio in (*self._past, run.stdio) if stdio.clients]
        self._tell_kept(event)
        in_worker(lambda: self._runtime.delete(self._bundle, force=True))

    def _restart(self) -> None:
        state = self._created()
        state.forget_exit()
        try:
            self._new_run(start=True)
        except Exception as failure:
            if self._run is not None:
                self._run.close()
            self._give_up(describe(failure))
            return
        event = {"event": "started", "pid": state.pid, "restart_count": state.restart_count} | self._started(state)
        self._keep_and_tell(event)

    def _give_up(self, error: Message | None) -> None:
        """There will be no restart: someone does not want it any more, or it failed."""
        self._loop.cancel(self._restart_timer)
        self._finish({"event": "given_up", "error": error})

    def _finish(self, event: Message) -> None:
        """The container stays stopped: write it down, tell it, and clean up behind it."""
        state = self._created()
        state.status = EXITED
        self._close_log()
        self._keep(event)
        if self._run is not None:
            for stdio in (*self._past, self._run.stdio):
                stdio.on_idle = self._end_if_idle
            self._run.finish()
        # Whoever hears of the exit may want these ports at once
        self._leave_network()
        self._tell_kept(event)

    def _close_log(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def _leave_network(self) -> None:
        self._proxy.close()
        for fd in self._held_fds.values():
            os.close(fd)
        self._held_fds.clear()

    def _keep(self, event: Message) -> None:
        """Make an event known to a daemon that is not there, or is not there any more when it is told."""
        state = self._created()
        state.keep(event)
        if state.status in (RESTARTING, EXITED):
            state.write_exit()

    def _tell_kept(self, event: Message) -> None:
        state = self._created()
        is_last = state.status == EXITED and event is state.untold[-1]
        self._tell(event, self._delete if is_last else lambda noted: state.noted(event) if noted else None)

    def _keep_and_tell(self, event: Message) -> None:
        self._keep(event)
        self._tell_kept(event)

    def _delete(self, _noted: bool) -> None:
        if self._deleted:
            return
        self._runtime.delete(self._bundle, force=True)
        self._deleted = True
        self._on_deleted()
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        """The shim is done when nobody is left who has not read everything."""
        streams = (*self._past, *((self._run.stdio,) if self._run else ()))
        if self._deleted and not self._execs.any and not any(stdio.clients for stdio in streams):
            self._loop.stopped = True

    # What is there

    def _created(self) -> State:
        if self._state is None or not self.created:
            raise Failure("conflict", "the task is not created")
        return self._state

    def _alive(self) -> Run:
        """Return the run of a container that has one now."""
        state = self._created()
        if state.status in (RESTARTING, EXITED) or self._run is None:
            raise Failure("conflict", f"task {state.id} is {'restarting' if state.status == RESTARTING else 'stopped'}")
        return self._run

    def _running(self, wanted: str) -> State:
        state = self._created()
        if state.status != wanted:
            raise Failure("conflict", f"task {state.id} is {state.status}, not {wanted}")
        return state
