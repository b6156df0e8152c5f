"""Making a container: the parent's half. The child's half is `init.py`.

What is made is undone in reverse when a later step fails. The parent does what needs the host's view while the child
builds the root: limits of the process, id maps, hooks of the runtime's side, the state file.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import stat
import time
from contextlib import ExitStack

from . import channel, hooks, init, linux, outside, seccomp_flags, state, trace
from . import spec as spec_rules
from .cgroups import cgroup as cgroups
from .constants import CLONE_INTO_CGROUP, CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWTIME, CLONE_NEWUSER, PR_SET_DUMPABLE
from .errors import RuntimeFailure, describe, reason
from .namespaces import Namespaces, owner_of, write_id_maps, write_time_offsets
from .process import AS_THEY_ARE, PREFIX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .cgroups.cgroup import Cgroup
    from .init import Plan

# clone3 refuses a cgroup for these reasons; the process is then moved there after the fork.
_CGROUP_REFUSALS = (errno.EACCES, errno.EBADF, errno.EBUSY, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)


class Stdio:
    """The descriptors that become 0, 1 and 2 of a process; -1 is /dev/null. A terminal takes their place."""

    __slots__ = ("stderr_fd", "stdin_fd", "stdout_fd")

    def __init__(self, stdin_fd: int, stdout_fd: int, stderr_fd: int) -> None:
        self.stdin_fd = stdin_fd
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd


class Process:
    """A process in a container, a child of the caller, who reaps it.

    `pidfd` is close-on-exec and becomes the caller's; `console_fd` is the pty's master, or -1 without a terminal.
    """

    __slots__ = ("console_fd", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, console_fd: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.console_fd = console_fd


class Init(Process):
    """A created container's first process: everything is done but its execve."""

    __slots__ = ("_plan", "_sock")

    def __init__(self, pid: int, pidfd: int, console_fd: int, *, sock: socket.socket, plan: Plan) -> None:
        super().__init__(pid, pidfd, console_fd)
        self._sock = sock
        self._plan = plan

    def close(self) -> None:
        """Give up a container that was not started: its process ends, unless it was created detached."""
        self._sock.close()

    def start(self) -> None:
        """Let it execute its program; raise RuntimeFailure where execve itself fails (the caller then reaps it)."""
        try:
            if self._plan.at_once:
                receive(self._sock)
            else:
                give_start(self._sock)
        finally:
            self._sock.close()
        run_state = {**self._plan.state, "pid": self.pid, "status": "running"}
        hooks.run("poststart", self._plan.hooks.get("poststart"), run_state, cwd=self._plan.bundle)


def create(
    id: str,
    bundle: str,
    spec: dict[str, Any],
    *,
    stdio: Stdio,
    state_dir: str,
    rootfs: Sequence[dict[str, Any]] = (),
    seccomp: bytes | None = None,
    preserve_fds: int = 0,
    no_pivot: bool = False,
    new_keyring: bool = True,
    detached: bool = False,
    at_once: bool = False,
) -> Init:
    """Make a container whose first process waits for `Init.start`.

    `rootfs` are mounts made on `<bundle>/rootfs` in the container's own mount namespace; `seccomp` is a compiled
    filter (`seccomp.compile`), used instead of `spec["linux"]["seccomp"]`. Descriptors other than stdio and the
    `preserve_fds` ones from 3 on are closed in the child. With `detached` the process outlives the caller and waits on
    `<state_dir>/start.sock` for `container.start`; otherwise it ends when the caller ends without having started it.
    With `at_once` the process does not wait for `Init.start`, which then only tells how its execve went: a start that
    follows at once saves two switches between processes. The caller owns the stdio and namespace descriptors
    (`/proc/self/fd/N` paths) and may close them on return. On failure everything is undone and RuntimeFailure raised.
    """
    spec_rules.check_id(id)
    with ExitStack() as always, ExitStack() as undo:
        namespaces = Namespaces(spec)
        always.callback(namespaces.close)
        spec_rules.check(spec, namespaces)
        linux_spec = spec.get("linux") or {}
        cgroup = _make_cgroup(id, linux_spec, always, undo)
        os.makedirs(state_dir, 0o711, exist_ok=True)
        parent_sock, child_sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(parent_sock.close)
        always.callback(child_sock.close)
        plan = init.Plan(
            id=id,
            bundle=bundle,
            spec=spec,
            stdio=stdio,
            sock=child_sock,
            listener=_listen(state_dir, always, undo) if detached else None,
            cgroup=cgroup,
            namespaces=namespaces,
            confinement=seccomp_flags.confinement(linux_spec.get("seccomp"), seccomp),
            rootfs=rootfs,
            preserve_fds=preserve_fds,
            no_pivot=no_pivot,
            new_keyring=new_keyring,
            at_once=at_once,
        )
        outside.open_mounts(plan, always, undo)
        give_streams(stdio, owner_of(linux_spec))
        child = Process(*_fork(plan), -1)
        undo.callback(lambda: reap(child.pidfd))
        child_sock.close()
        console_fd = _accompany(plan, child, parent_sock, state_dir, undo)
        undo.pop_all()
    return Init(child.pid, child.pidfd, console_fd, sock=parent_sock, plan=plan)


def _make_cgroup(id: str, linux_spec: dict[str, Any], always: ExitStack, undo: ExitStack) -> Cgroup:
    cgroup = cgroups.make(linux_spec.get("cgroupsPath") or "", id)
    try:
        cgroup.create({"devices": [], **(linux_spec.get("resources") or {})})
        undo.callback(cgroup.delete)
        cgroup.open_for_join()
        always.callback(cgroup.close)
    except RuntimeFailure as failure:
        text = f"{PREFIX}error during container init: error setting cgroup config for procHooks process: "
        raise RuntimeFailure(failure.kind, text + failure.message, failure.errno) from failure
    except OSError as error:
        text = f"{PREFIX}unable to apply cgroup configuration: {describe(error)}"
        raise RuntimeFailure("internal", text, error.errno or 0) from error
    return cgroup


def _listen(state_dir: str, always: ExitStack, undo: ExitStack) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    always.callback(listener.close)
    with state.short_path(state_dir, "start.sock") as path:
        listener.bind(path)
    undo.callback(os.unlink, os.path.join(state_dir, "start.sock"))
    os.chmod(os.path.join(state_dir, "start.sock"), 0o600)
    listener.listen(1)
    return listener


def _fork(plan: Plan) -> tuple[int, int]:
    """Clone init with its new namespaces; in the child this does not return."""
    namespaces = plan.namespaces
    # These two are made by the child itself, once it is in its cgroup and before its clocks are shifted, and so are
    # all where they belong to another user namespace than ours.
    flags = 0 if "user" in namespaces.joined else namespaces.new & ~(CLONE_NEWCGROUP | CLONE_NEWTIME)
    pid_fd = namespaces.joined.get("pid", -1)
    try:
        pid, pidfd, placed = clone(flags, plan.cgroup, pid_namespace_fd=pid_fd)
    except OSError as error:
        raise RuntimeFailure("internal", f"{PREFIX}{describe(error)}", error.errno or 0) from error
    plan.waits = not placed or bool(flags & CLONE_NEWUSER)
    if pid == 0:
        init.run(plan)
    trace.note("cloned the first process", f"pid {pid}")
    plan.placed = placed
    return pid, pidfd


def clone(flags: int, cgroup: Cgroup, *, pid_namespace_fd: int) -> tuple[int, int, bool]:
    """Fork into the cgroup and, with a descriptor, into a pid namespace; return (pid, pidfd, is it in the cgroup?)."""
    # Inherited by the child, which so is never open to ptrace and /proc from inside the container.
    linux.prctl(PR_SET_DUMPABLE, 0)
    own_fd = -1
    if pid_namespace_fd >= 0:
        own_fd = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        linux.setns(pid_namespace_fd, CLONE_NEWPID)
    pid = -1
    try:
        placed = cgroup.clone_fd >= 0
        try:
            if not placed:
                raise OSError(errno.EINVAL, "clone3: no cgroup v2 to clone into")
            pid, pidfd = linux.clone3(flags | CLONE_INTO_CGROUP, exit_signal=signal.SIGCHLD, cgroup_fd=cgroup.clone_fd)
        except OSError as error:
            if error.errno not in _CGROUP_REFUSALS:
                raise
            pid, pidfd = linux.clone3(flags, exit_signal=signal.SIGCHLD)
            placed = cgroup.clone_fd < 0
    finally:
        # The child must not: from its namespace the parent's is out of reach.
        if own_fd >= 0 and pid != 0:
            linux.setns(own_fd, CLONE_NEWPID)
            os.close(own_fd)
    return pid, pidfd, placed


def _accompany(plan: Plan, child: Process, sock: socket.socket, state_dir: str, undo: ExitStack) -> int:
    """Do the parent's part while the child works; return the console's master, or -1, when the child is ready."""
    with reported():
        if not plan.placed:
            plan.cgroup.add(child.pid)
        if plan.namespaces.new & CLONE_NEWUSER:
            write_id_maps(child.pid, plan.linux)
        limit_process(child.pid, plan.process)
        if plan.waits:
            channel.send(sock, "prepared")
        if "user" in plan.namespaces.joined and plan.namespaces.new & CLONE_NEWPID:
            name, argument, fd = receive(sock)
            take_over(child, argument, fd, sock)
        saved = _new_state(plan, child.pid)
        plan.state = public_state(saved)
        undo.callback(_forget, state_dir)
        state.save(state_dir, saved)
        if plan.at_once:
            _start_early(sock)
        name, steps, console_fd = receive(sock)
        while name in ("clocks", "hooks"):
            _answer(plan, child.pid, name, sock)
            name, steps, console_fd = receive(sock)
        trace.add(steps)
        if name != "ready":
            raise RuntimeFailure("internal", "container init process ended unexpectedly")
        return console_fd


def _answer(plan: Plan, pid: int, name: str, sock: socket.socket) -> None:
    """Do what the child cannot do itself."""
    if name == "clocks":
        write_time_offsets(pid, plan.linux.get("timeOffsets"))
        channel.send(sock, "clocks-set")
        return
    hook_state = {**plan.state, "pid": pid, "status": "created"}
    for kind in ("prestart", "createRuntime"):
        hooks.run(kind, plan.hooks.get(kind), hook_state, cwd=plan.bundle)
    channel.send(sock, "hooks-done")


def take_over(child: Process, pid: object, pidfd: int, sock: socket.socket) -> None:
    """Let the second process, which the first has forked and told of, be the child from now on."""
    if not isinstance(pid, int) or pidfd < 0:
        raise RuntimeFailure("internal", "the new process ended unexpectedly")
    first_fd, child.pid, child.pidfd = child.pidfd, pid, pidfd
    channel.send(sock, "known")
    os.waitid(os.P_PIDFD, first_fd, os.WEXITED)
    os.close(first_fd)


def give_streams(stdio: Stdio, owner: list[int] | None) -> None:
    """Let the root of a user namespace open its streams anew, by /dev/stdout: pipes of the host's root it may not."""
    for fd in (stdio.stdin_fd, stdio.stdout_fd, stdio.stderr_fd) if owner else ():
        if fd >= 0 and stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.fchown(fd, *owner or ())


def limit_process(pid: int, process: dict[str, Any]) -> None:
    """Set resource limits and the OOM score from outside, where the privileges for both are."""
    for entry in process.get("rlimits") or ():
        kind = getattr(resource, entry["type"], None)
        if kind is None:
            raise RuntimeFailure("invalid_argument", f"invalid rlimit type: {entry['type']}")
        # RLIM_INFINITY is 2**64 - 1 in the spec and -1 in Python.
        soft, hard = (value - 2**64 if value >= 2**63 else value for value in (entry["soft"], entry["hard"]))
        try:
            resource.prlimit(pid, kind, (soft, hard))
        except (OSError, ValueError) as error:
            code = error.errno or 0 if isinstance(error, OSError) else errno.EINVAL
            text = reason(OSError(code, ""))
            raise RuntimeFailure("invalid_argument", f"error setting rlimit type {kind}: {text}", code) from error
    score = process.get("oomScoreAdj")
    if score is None:
        return
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(score).encode())
        finally:
            os.close(fd)
    except OSError as error:
        text = f"failed to update /proc/self/oom_score_adj: {reason(error)}"
        raise RuntimeFailure("invalid_argument", text, error.errno or 0) from error


class reported:  # noqa: N801 - used as `with reported():`
    """Turn what the parent's part raises into failures worded like the child's."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, OSError):
            raise RuntimeFailure("internal", PREFIX + describe(error), error.errno or 0) from error
        if isinstance(error, RuntimeFailure) and not error.message.startswith((PREFIX, *AS_THEY_ARE)):
            raise RuntimeFailure(error.kind, PREFIX + error.message, error.errno) from error


def receive(sock: socket.socket) -> tuple[str, Any, int]:
    """Receive; a connection that broke, for the child ended with our word unread, still holds what the child said."""
    try:
        return channel.receive(sock)
    except ConnectionResetError:
        return channel.receive(sock)


def _start_early(sock: socket.socket) -> None:
    try:
        channel.send(sock, "start")
    except BrokenPipeError:
        pass  # it has failed already; why comes with the next message


def give_start(sock: socket.socket) -> None:
    """Send the word, and wait for the end of the socket, which execve brings, or for the failure."""
    try:
        channel.send(sock, "start")
    except OSError as error:
        raise RuntimeFailure("conflict", "container init process is gone", error.errno or 0) from error
    receive(sock)


def reap(pidfd: int) -> None:
    """Kill a child that must not live on, collect it and close its descriptor."""
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has died by itself
    os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    os.close(pidfd)


def _forget(state_dir: str) -> None:
    try:
        os.unlink(os.path.join(state_dir, "state.json"))
    except FileNotFoundError:
        pass


def _new_state(plan: Plan, pid: int) -> dict[str, Any]:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e9):09d}Z"
    return {
        "id": plan.id,
        "bundle": plan.bundle,
        "annotations": plan.spec.get("annotations") or {},
        "created": stamp,
        "pid": pid,
        "start_time": state.start_time(pid),
        "namespaces": plan.namespaces.flags,
        "has_pid_namespace": bool(plan.namespaces.new & CLONE_NEWPID),
        "cgroup": plan.cgroup.describe(),
        "personality": plan.linux.get("personality"),
        "memory_policy": plan.linux.get("memoryPolicy"),
        "oom_score_adj": plan.process.get("oomScoreAdj"),
        "rootfs": os.path.join(plan.bundle, plan.spec["root"]["path"]),
        "host_root": plan.host_root,
        "owner": owner_of(plan.linux),
        "hooks": {kind: plan.hooks[kind] for kind in ("poststart", "poststop") if plan.hooks.get(kind)},
    }


def public_state(saved: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the saved state that the OCI spec names, without pid and status."""
    return {
        "ociVersion": state.OCI_VERSION,
        "id": saved["id"],
        "bundle": saved["bundle"],
        "rootfs": saved["rootfs"],
        "annotations": saved["annotations"],
    }
