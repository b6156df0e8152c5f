"""Another OCI runtime (runc, crun, …) in place of lightship's own, by its command line, as containerd's shim uses it.

A bundle has a directory `oci` for it: `runtime.json` names the program and its arguments and is written by the daemon;
the spec as others understand it, the runtime's own state and its log are made here. The root file system and what only
lightship's runtime can mount are mounted in a mount namespace of the worker's own, which ends with the worker: the
container has a copy of it, and nothing is left to unmount. The container's processes become the shim's children, for
the shim is a subreaper. Control groups are read directly, as for lightship's own containers.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import stat
from array import array

from ..runtime import state
from ..runtime.cgroups import cgroup as cgroups
from ..runtime.cgroups import v2_systemd
from ..runtime.container import Process, Stdio, cgroup
from ..runtime.errors import RuntimeFailure, reason
from .plainspec import plain_process, plain_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

LIMIT_S = 60
"""How long a command may take: the container's streams wait for it."""
_GONE = ("process already finished", "container not running", "no such process", "does not exist", "is not running")
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
_NO_STDIO = Stdio(-1, -1, -1)


class Created(Process):
    """A container that was created, and waits to be started."""

    __slots__ = ("_bundle",)

    def __init__(self, bundle: str, made: Process) -> None:
        super().__init__(made.pid, made.pidfd, made.console_fd)
        self._bundle = bundle

    def start(self) -> None:
        start(self._bundle)


def create(id: str, bundle: str, spec: dict[str, Any], *, stdio: Stdio, rootfs: Sequence[dict[str, Any]]) -> Created:
    """Make a container whose first process waits for `start`; its root is put together from `rootfs`.

    To be called in a process that ends afterwards: it leaves the shim's mount namespace.
    """
    if not _knows_recursive_read_only(bundle, spec):
        for entry in spec["mounts"]:
            entry["options"] = ["ro" if word == "rro" else word for word in entry.get("options") or ()]
    write_json(f"{bundle}/oci/config.json", plain_spec(spec, f"{bundle}/rootfs", f"{bundle}/oci", rootfs))
    terminal = bool(spec["process"].get("terminal"))
    by_systemd = v2_systemd.is_path(spec["linux"].get("cgroupsPath") or "")
    words = [*(["--systemd-cgroup"] if by_systemd else []), "create", "--bundle", f"{bundle}/oci"]
    made = _make(bundle, words, id, stdio=stdio, terminal=terminal)
    saved = {
        "id": id,
        "bundle": bundle,
        "annotations": spec.get("annotations") or {},
        "created": "",
        "pid": made.pid,
        "start_time": state.start_time(made.pid),
        "namespaces": 0,
        "cgroup": cgroups.make(spec["linux"].get("cgroupsPath") or "", id).describe(),
        "rootfs": f"{bundle}/rootfs",
        "hooks": {},
    }
    state.save(bundle, saved)
    return Created(bundle, made)


def start(bundle: str) -> None:
    _run(bundle, "start", _id(bundle))


def exec_process(bundle: str, process: dict[str, Any], *, stdio: Stdio, seccomp: bytes | None = None) -> Process:
    """Run one more process; the runtime finds the seccomp filter in its own copy of the spec."""
    root_fd = os.open(f"/proc/{state.read(bundle)['pid']}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    path = f"{bundle}/oci/process.json"
    write_json(path, plain_process(process, root_fd))
    os.close(root_fd)
    words = ["exec", "--process", path, "--detach"]
    return _make(bundle, words, _id(bundle), stdio=stdio, terminal=bool(process.get("terminal")))


def kill(bundle: str, signal_number: int, *, all: bool = False) -> None:
    try:
        _run(bundle, "kill", *(["--all"] if all else []), _id(bundle), str(int(signal_number)))
    except RuntimeFailure as failure:
        if all and any(words in failure.message.lower() for words in _GONE):
            return
        raise


def pause(bundle: str) -> None:
    _run(bundle, "pause", _id(bundle))


def resume(bundle: str) -> None:
    _run(bundle, "resume", _id(bundle))


def pids(bundle: str) -> list[int]:
    found: list[int] = json.loads(_run(bundle, "ps", "--format", "json", _id(bundle)) or "[]")
    return found


def update(bundle: str, resources: dict[str, Any]) -> None:
    path = f"{bundle}/oci/resources.json"
    write_json(path, resources)
    _run(bundle, "update", "--resources", path, _id(bundle))


def delete(bundle: str, *, force: bool = False) -> None:
    """Have the runtime forget the container; one that it does not know is no error with `force`."""
    try:
        _run(bundle, "delete", *(["--force"] if force else []), _id(bundle))
    except RuntimeFailure as failure:
        if not force or not any(words in failure.message.lower() for words in _GONE):
            raise
    try:
        cgroup(bundle).delete()
        os.unlink(f"{bundle}/state.json")
    except (FileNotFoundError, RuntimeFailure):
        pass


def _knows_recursive_read_only(bundle: str, spec: dict[str, Any]) -> bool:
    """As dockerd, believe only a runtime that says so of itself; one that is not asked for it need not know it."""
    if not any("rro" in (entry.get("options") or ()) for entry in spec["mounts"]):
        return True
    try:
        return "rro" in json.loads(_run(bundle, "features"))["mountOptions"]
    except (RuntimeFailure, ValueError, KeyError):
        return False


def _id(bundle: str) -> str:
    return os.path.basename(bundle)


def _make(bundle: str, words: list[str], id: str, *, stdio: Stdio, terminal: bool) -> Process:
    """Run a command that leaves a process behind, and take over its pid and its terminal."""
    pid_path = f"{bundle}/oci/pid"
    words = [*words, "--pid-file", pid_path]
    listener = _Console(f"{bundle}/oci") if terminal else None
    try:
        if listener is not None:
            words += ["--console-socket", listener.path]
        _run(bundle, *words, id, stdio=stdio)
        with open(pid_path) as file:
            pid = int(file.read())
        console_fd = listener.receive() if listener is not None else -1
        return Process(pid, os.pidfd_open(pid), console_fd)
    finally:
        if listener is not None:
            listener.close()


class _Console:
    """Where the runtime sends a terminal's master; the path is a short one, however long the bundle's is."""

    def __init__(self, directory: str) -> None:
        self._directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.path = f"/proc/{os.getpid()}/fd/{self._directory_fd}/console.sock"
        self._listener.bind(self.path)
        os.chmod(self.path, 0o600)
        self._listener.listen(1)

    def receive(self) -> int:
        self._listener.settimeout(LIMIT_S)
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(LIMIT_S)
            _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        fds = array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: fds.itemsize])
        if not fds:
            raise RuntimeFailure("internal", "the runtime sent no terminal")
        return fds[0]

    def close(self) -> None:
        self._listener.close()
        os.unlink(self.path)
        os.close(self._directory_fd)


def _run(bundle: str, *words: str, stdio: Stdio = _NO_STDIO) -> str:
    """Run one command and return what it prints; raise RuntimeFailure with what it logs."""
    with open(f"{bundle}/oci/runtime.json", encoding="utf-8") as file:
        program = json.load(file)
    log_path = f"{bundle}/oci/log.json"
    options = ["--root", f"{bundle}/oci/state", "--log", log_path, "--log-format", "json"]
    _unlink(log_path)
    output_fd = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        try:
            pid = _spawn([program["path"], *program["args"], *options, *words], stdio, output_fd)
        except OSError as error:
            told = f"open {log_path}: no such file or directory"
            text = f"unable to retrieve OCI runtime error ({told}): exec: {program['path']}: {reason(error)}"
            raise RuntimeFailure("internal", text, error.errno or 0) from error
        status = _wait(pid)
        output = os.pread(output_fd, 1 << 20, 0).decode("utf-8", "replace")
    finally:
        os.close(output_fd)
    if status != 0:
        raise RuntimeFailure(*_failure(log_path, output, status))
    return output


def _spawn(command: list[str], stdio: Stdio, output_fd: int) -> int:
    # An empty pipe and not /dev/null, which some crun gives to the container's user
    empty_fd, other_fd = os.pipe2(os.O_CLOEXEC)
    os.close(other_fd)
    stdin_fd = stdio.stdin_fd if stdio.stdin_fd >= 0 and not _is_device(stdio.stdin_fd) else empty_fd
    fds = [stdin_fd, *(fd if fd >= 0 else output_fd for fd in (stdio.stdout_fd, stdio.stderr_fd))]
    try:
        actions = [(os.POSIX_SPAWN_DUP2, fd, standard) for standard, fd in enumerate(fds)]
        return os.posix_spawnp(
            command[0], command, os.environ, file_actions=actions, setsigmask=(), setsigdef=_IGNORED_BY_PYTHON
        )
    finally:
        os.close(empty_fd)


def _is_device(fd: int) -> bool:
    return stat.S_ISCHR(os.fstat(fd).st_mode)


def _wait(pid: int) -> int:
    """Return the exit code of a command, which is killed where it takes too long."""
    pidfd = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(LIMIT_S * 1000):
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _failure(log_path: str, output: str, status: int) -> tuple[str, str]:
    """Return the kind and the words of a failure: the last error that the runtime has logged, or what it printed."""
    message = ""
    try:
        with open(log_path, encoding="utf-8", errors="replace") as file:
            for line in file:
                entry = json.loads(line)
                message = entry["msg"] if entry.get("level") == "error" else message
    except (OSError, ValueError, KeyError):
        pass  # not every runtime logs as it is told
    message = message or (output.strip().splitlines() or [f"exit status {status}"])[-1]
    is_gone = any(words in message.lower() for words in _GONE[:3])
    return ("not_found" if is_gone else "internal"), message.strip()


def write_json(path: str, value: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
