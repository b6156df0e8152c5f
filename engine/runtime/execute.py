"""Running one more process in a running container: the parent's half. The child's half is `join.py`."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack

from . import channel, join, seccomp_flags, state
from . import spec as spec_rules
from .cgroups import cgroup as cgroups
from .create import Process, Stdio, clone, give_streams, limit_process, reap, receive, reported, take_over
from .errors import RuntimeFailure, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cgroups.cgroup import Cgroup


def exec_process(
    state_dir: str,
    process: dict[str, Any],
    *,
    stdio: Stdio,
    seccomp: bytes | None = None,
    seccomp_spec: dict[str, Any] | None = None,
    preserve_fds: int = 0,
    ignore_paused: bool = False,
    groups: dict[str, str] | None = None,
) -> Process:
    """Run one more process (an OCI process object) in a running container; on return it has been executed.

    `seccomp` is a compiled filter; `seccomp_spec` the OCI object it came from, compiled where there is no filter and
    otherwise looked at for its flags only. `groups` are groups below the container's to enter, by controllers.
    """
    saved = state.read(state_dir)
    spec_rules.check_process(process)
    cgroup = cgroups.load(saved["cgroup"])
    with ExitStack() as always, ExitStack() as undo:
        init_pidfd = _open_init(saved)
        always.callback(os.close, init_pidfd)
        if not ignore_paused and cgroup.frozen():
            text = "cannot exec in a paused container (use --ignore-paused to override)"
            raise RuntimeFailure("conflict", text)
        if groups:
            cgroup = cgroup.below(groups)
        parent_sock, child_sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        always.callback(parent_sock.close)
        always.callback(child_sock.close)
        joining = join.Joining(
            id=saved["id"],
            process={"oomScoreAdj": saved["oom_score_adj"], **process},
            linux={"personality": saved["personality"], "memoryPolicy": saved.get("memory_policy")},
            stdio=stdio,
            sock=child_sock,
            cgroup=cgroup,
            init_pidfd=init_pidfd,
            root_fd=_open_host_root(saved, always),
            namespace_flags=saved["namespaces"],
            confinement=seccomp_flags.confinement(seccomp_spec, seccomp),
            preserve_fds=preserve_fds,
        )
        give_streams(stdio, saved.get("owner"))
        with reported():
            _open_cgroup(cgroup, 0 if groups else saved["pid"])
            always.callback(cgroup.close)
            pid, pidfd, placed = clone(0, cgroup, pid_namespace_fd=-1)
            if pid == 0:
                join.run(joining)
            child = Process(pid, pidfd, -1)
            undo.callback(lambda: reap(child.pidfd))
            child_sock.close()
            _accompany(joining, child, placed, parent_sock)
        undo.pop_all()
    return child


def _open_cgroup(cgroup: Cgroup, init_pid: int) -> None:
    try:
        cgroup.open_for_join(init_pid)
    except FileNotFoundError as error:
        text = f"error adding pid to cgroups: {describe(error)}"
        raise RuntimeFailure("invalid_argument", text, error.errno or 0) from error


def _open_init(saved: dict[str, Any]) -> int:
    try:
        pidfd = os.pidfd_open(saved["pid"])
    except ProcessLookupError as error:
        raise RuntimeFailure("conflict", "cannot exec in a stopped container", error.errno or 0) from error
    if not state.is_alive(saved):
        os.close(pidfd)
        raise RuntimeFailure("conflict", "cannot exec in a stopped container")
    return pidfd


def _open_host_root(saved: dict[str, Any], always: ExitStack) -> int:
    """Return where the process is to change its root to, which does not come with a mount namespace; else -1."""
    if not saved.get("host_root"):
        return -1
    fd = os.open(f"/proc/{saved['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    always.callback(os.close, fd)
    return fd


def _accompany(joining: join.Joining, child: Process, placed: bool, sock: socket.socket) -> None:
    """Do the parent's part until the program runs; `child` changes when the second fork takes over from the first."""
    limit_process(child.pid, joining.process)
    if not placed:
        joining.cgroup.add(child.pid)
    channel.send(sock, "prepared")
    name, argument, fd = receive(sock)
    if name == "forked":
        take_over(child, argument, fd, sock)
        name, argument, fd = receive(sock)
    if name != "ready":
        raise RuntimeFailure("internal", "the new process ended unexpectedly")
    child.console_fd = fd
    try:
        receive(sock)  # its end is the news of execve; a failure raises
    except RuntimeFailure:
        if fd >= 0:
            os.close(fd)
        raise
