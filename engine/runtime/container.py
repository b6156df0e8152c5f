"""The runtime's operations on containers, for the shim and for the `lightship-runtime` command.

Everything is synchronous and single-threaded. A container is known by its state directory, which holds `state.json`;
the functions can be called by any later process that runs on the same host. Making a container is in `create.py`.
Nothing here reads images, allocates addresses or writes logs.
"""

from __future__ import annotations

import os
import select
import signal
import socket

from . import create as creation
from . import execute, hooks, hostroot, state
from .cgroups import cgroup as cgroups
from .create import Init, Process, Stdio
from .errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cgroups.cgroup import Cgroup

__all__ = [
    "Init",
    "Process",
    "RuntimeFailure",
    "Stdio",
    "cgroup",
    "create",
    "delete",
    "exec_process",
    "kill",
    "load",
    "pause",
    "pids",
    "resume",
    "start",
    "update",
]

_FORCED_DEATH_MS = 10_000

create = creation.create
exec_process = execute.exec_process


def start(state_dir: str) -> None:
    """Start a container created with `detached`; raise RuntimeFailure where execve fails."""
    saved = state.read(state_dir)
    if not state.is_alive(saved):
        raise RuntimeFailure("conflict", "cannot start a container that has stopped")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with state.short_path(state_dir, "start.sock") as path:
            try:
                sock.connect(path)
            except OSError as error:
                text = "cannot start an already running container"
                raise RuntimeFailure("conflict", text, error.errno or 0) from error
            os.unlink(path)
        creation.give_start(sock)
    finally:
        sock.close()
    try:
        hooks.run("poststart", saved["hooks"].get("poststart"), _oci_state(saved, "running"))
    except RuntimeFailure:
        _kill_and_wait(saved, cgroups.load(saved["cgroup"]))
        raise


def load(state_dir: str) -> dict[str, Any]:
    """Return the OCI state: id, pid, status (created, running, paused, stopped), bundle, created, annotations.

    The pid counts as alive only with the start time that was written down. "created" is told apart from "running" only
    for detached containers; the shim knows about its own.
    """
    saved = state.read(state_dir)
    if not state.is_alive(saved):
        return {**_oci_state(saved, "stopped"), "pid": 0}
    if os.path.exists(os.path.join(state_dir, "start.sock")):
        return _oci_state(saved, "created")
    return _oci_state(saved, "paused" if cgroups.load(saved["cgroup"]).frozen() else "running")


def _oci_state(saved: dict[str, Any], status: str) -> dict[str, Any]:
    """Return it in the order of runc, whose output some callers compare as text."""
    public = creation.public_state(saved)
    about = {key: public.pop(key) for key in ("ociVersion", "id")}
    times = {"created": saved["created"]} | {key: public.pop(key) for key in ("annotations",)}
    return {**about, "pid": saved["pid"], "status": status, **public, **times}


def kill(state_dir: str, signal_number: int, *, all: bool = False) -> None:
    """Send a signal to the first process, or to all in the container's cgroup.

    Without a pid namespace of its own nothing ends with the first process, so SIGKILL is always for all.
    """
    saved = state.read(state_dir)
    if signal_number == signal.SIGKILL and not saved.get("has_pid_namespace", True):
        all = all or state.is_alive(saved) or bool(cgroups.load(saved["cgroup"]).pids())
    if all:
        _signal_all(cgroups.load(saved["cgroup"]), signal_number)
        return
    try:
        pidfd = os.pidfd_open(saved["pid"])
    except ProcessLookupError as error:
        raise RuntimeFailure("conflict", "container not running", error.errno or 0) from error
    try:
        # Only with the descriptor in hand is the pid known not to change its meaning between look and signal.
        if not state.is_alive(saved):
            raise RuntimeFailure("conflict", "container not running")
        signal.pidfd_send_signal(pidfd, signal_number)
    finally:
        os.close(pidfd)
    if signal_number == signal.SIGKILL:
        group = cgroups.load(saved["cgroup"])
        if group.frozen():
            group.thaw()  # a frozen process dies only when it thaws


def _signal_all(group: Cgroup, signal_number: int) -> None:
    if signal_number == signal.SIGKILL:
        group.kill()
        return
    for pid in group.pids():
        try:
            os.kill(pid, signal_number)
        except ProcessLookupError:
            continue


def pause(state_dir: str) -> None:
    """Freeze all of the container's processes and wait until they are."""
    _alive_cgroup(state_dir, "pause").freeze()


def resume(state_dir: str) -> None:
    """Thaw the container's processes."""
    _alive_cgroup(state_dir, "resume").thaw()


def _alive_cgroup(state_dir: str, action: str) -> Cgroup:
    saved = state.read(state_dir)
    if not state.is_alive(saved):
        raise RuntimeFailure("conflict", f"cannot {action} a container that is not running")
    return cgroups.load(saved["cgroup"])


def pids(state_dir: str) -> list[int]:
    """Return the container's processes as the caller's pid namespace numbers them."""
    return cgroup(state_dir).pids()


def update(state_dir: str, resources: dict[str, Any]) -> None:
    """Apply an OCI linux.resources object; keys that are absent stay as they are."""
    cgroup(state_dir).apply(resources)


def cgroup(state_dir: str) -> Cgroup:
    """Return the container's cgroup: `stats()` (raw numbers), `oom_fd()`, `freeze()`, `pids()`, `kill()`."""
    return cgroups.load(state.read(state_dir)["cgroup"])


def delete(state_dir: str, *, force: bool = False) -> list[str]:
    """Remove what is left of a stopped container: processes in its cgroup, cgroup, state; run the poststop hooks.

    A container that still runs is an error unless `force`, which kills it. With `force` it is no error either when
    there is nothing to remove. The state directory itself stays: it is the caller's. Failures of the hooks are
    returned: they are no reason to keep anything.
    """
    try:
        saved = state.read(state_dir)
    except RuntimeFailure as failure:
        if force and failure.kind == "not_found":
            return []
        raise
    group = cgroups.load(saved["cgroup"])
    if state.is_alive(saved):
        created = os.path.exists(os.path.join(state_dir, "start.sock"))
        if not force and not created:
            text = f"cannot delete container {saved['id']} that is not stopped: running"
            raise RuntimeFailure("conflict", text)
        _kill_and_wait(saved, group)
    elif group.pids():
        group.kill()  # left over from a pid namespace that the container shared
    group.delete()
    hostroot.detach(saved["rootfs"], saved.get("host_root", 0))
    for name in ("start.sock", "state.json"):
        try:
            os.unlink(os.path.join(state_dir, name))
        except FileNotFoundError:
            continue
    last_state = _oci_state(saved, "stopped")
    return list(hooks.failures("poststop", saved["hooks"].get("poststop"), last_state, cwd=saved["bundle"]))


def _kill_and_wait(saved: dict[str, Any], group: Cgroup) -> None:
    try:
        pidfd = os.pidfd_open(saved["pid"])
    except ProcessLookupError:
        return
    try:
        group.kill()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_FORCED_DEATH_MS):
            raise RuntimeFailure("internal", "container init still running")
    finally:
        os.close(pidfd)
