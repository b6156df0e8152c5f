"""The commands of `lightship-runtime` that make and change containers, over the same library as the shim."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import sys
from contextlib import ExitStack
from typing import Any

from . import capabilities, container, foreground, linux, log
from . import execute as execution
from . import spec as spec_rules
from .cgroups import v2_systemd
from .constants import PR_SET_CHILD_SUBREAPER
from .container import Process, Stdio
from .errors import RuntimeFailure, reason

DEFAULT_ROOT = "/run/lightship-runtime"
UPDATE_NUMBERS = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-idle": ("cpu", "idle"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-share": ("cpu", "shares"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "pids-limit": ("pids", "limit"),
}
"""Options of update, and where their values go in linux.resources."""

_STDIO = Stdio(0, 1, 2)


def state_dir(options: argparse.Namespace, id: str | None = None) -> str:
    """Return a container's state directory; the id becomes a path, so it is checked first."""
    name = options.id if id is None else id
    spec_rules.check_id(name)
    return os.path.join(options.root, name)


def load_spec(bundle: str) -> dict[str, Any]:
    path = os.path.join(bundle, "config.json")
    try:
        with open(path, encoding="utf-8") as file:
            spec: dict[str, Any] = json.load(file)
            return spec
    except FileNotFoundError as error:
        text = "JSON specification file config.json not found"
        raise RuntimeFailure("not_found", text, error.errno or 0) from error
    except ValueError as error:
        raise RuntimeFailure("invalid_argument", f"{path}: {error}") from error


def create(options: argparse.Namespace) -> int:
    with ExitStack() as undo:
        process = _make(options, undo, detached=True)
        _hand_over(options, process, undo)
        undo.pop_all()
    return 0


def run(options: argparse.Namespace) -> int:
    with ExitStack() as undo:
        if not options.detach and not options.no_subreaper:
            linux.prctl(PR_SET_CHILD_SUBREAPER, 1)
        process = _make(options, undo, detached=False)
        kept = _hand_over(options, process, undo)
        process.start()
        undo.pop_all()
    if options.detach:
        return 0
    code = foreground.wait(process, console=not kept)
    if not options.keep:
        _delete(options, force=False)
    return code


def _make(options: argparse.Namespace, undo: ExitStack, *, detached: bool) -> container.Init:
    bundle = os.path.abspath(options.bundle)
    if options.pid_file:
        options.pid_file = os.path.abspath(options.pid_file)  # the bundle is to be the working directory
    spec = load_spec(bundle)
    if options.systemd_cgroup:
        _use_systemd(spec, options.id)
    _check_console(options, bool((spec.get("process") or {}).get("terminal")), leaves=detached or _leaves(options))
    directory = state_dir(options)
    os.makedirs(options.root, 0o700, exist_ok=True)
    try:
        os.mkdir(directory, 0o711)
    except FileExistsError as error:
        raise RuntimeFailure("already_exists", "container with given ID already exists", error.errno or 0) from error
    undo.callback(shutil.rmtree, directory, ignore_errors=True)
    _warn(options, spec.get("process") or {})
    extra = _inherit_listen_fds(spec.get("process") or {})
    os.chdir(bundle)
    process = container.create(
        options.id,
        bundle,
        spec,
        stdio=_STDIO,
        state_dir=directory,
        preserve_fds=options.preserve_fds + extra,
        no_pivot=options.no_pivot,
        new_keyring=not options.no_new_keyring,
        detached=detached,
    )
    undo.callback(container.delete, directory, force=True)
    return process


def _use_systemd(spec: dict[str, Any], id: str) -> None:
    linux = spec.setdefault("linux", {})
    path = linux.setdefault("cgroupsPath", "") or f":lightship:{id}"
    if not v2_systemd.is_path(path):
        text = f'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{path}" instead'
        raise RuntimeFailure("invalid_argument", text)
    linux["cgroupsPath"] = path


def _warn(options: argparse.Namespace, process: dict[str, Any]) -> None:
    for text in capabilities.left_out(process.get("capabilities")):
        log.write(options, "warning", text)


def _leaves(options: argparse.Namespace) -> bool:
    return bool(getattr(options, "detach", False))


def _check_console(options: argparse.Namespace, terminal: bool, *, leaves: bool) -> None:
    if leaves and terminal and not options.console_socket:
        text = "cannot allocate tty if runc will detach without setting console socket"
        raise RuntimeFailure("invalid_argument", text)
    if options.console_socket and not (leaves and terminal):
        text = "cannot use console socket if runc will not detach or allocate tty"
        raise RuntimeFailure("invalid_argument", text)


def _inherit_listen_fds(process: dict[str, Any]) -> int:
    """Pass on sockets of systemd's activation, as runc does; return how many."""
    count = int(os.environ.get("LISTEN_FDS") or 0)
    if count:
        process["env"] = [*(process.get("env") or ()), f"LISTEN_FDS={count}", "LISTEN_PID=1"]
    return count


def _hand_over(options: argparse.Namespace, process: Process, undo: ExitStack) -> bool:
    """Give the caller the terminal, the pidfd and the pid as it asked; say whether the terminal is away."""
    if options.pidfd_socket:
        _send_fd(options.pidfd_socket, process.pidfd, "standard")
    sent = bool(options.console_socket) and process.console_fd >= 0
    if sent:
        _send_fd(options.console_socket, process.console_fd, "/dev/ptmx")
        os.close(process.console_fd)
        process.console_fd = -1
    elif process.console_fd >= 0:
        foreground.prepare_console(process.console_fd)
    if options.pid_file:
        temporary = os.path.join(os.path.dirname(options.pid_file) or ".", f".{os.path.basename(options.pid_file)}")
        with open(temporary, "w") as file:
            file.write(str(process.pid))
        os.rename(temporary, options.pid_file)
        undo.callback(_unlink, options.pid_file)
    return sent


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _send_fd(path: str, fd: int, name: str) -> None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
        socket.send_fds(sock, [name.encode()], [fd])
    except OSError as error:
        raise RuntimeFailure("invalid_argument", f"dial unix {path}: {reason(error)}", error.errno or 0) from error
    finally:
        sock.close()


def start(options: argparse.Namespace) -> int:
    container.start(state_dir(options))
    return 0


def execute(options: argparse.Namespace) -> int:
    directory = state_dir(options)
    status = container.load(directory)
    spec = load_spec(status["bundle"])
    process = _exec_process(options, spec)
    _check_console(options, bool(process.get("terminal")), leaves=options.detach)
    extra = _inherit_listen_fds(process)
    _warn(options, process)
    with ExitStack() as undo:
        made = execution.exec_process(
            directory,
            process,
            stdio=_STDIO,
            seccomp_spec=(spec.get("linux") or {}).get("seccomp"),
            preserve_fds=options.preserve_fds + extra,
            ignore_paused=options.ignore_paused,
            groups=_parse_groups(options.cgroup),
        )
        kept = _hand_over(options, made, undo)
        undo.pop_all()
    return 0 if options.detach else foreground.wait(made, console=not kept)


def _parse_groups(values: list[str]) -> dict[str, str]:
    """Read `--cgroup [CONTROLLER,…:]GROUP`, which names groups below the container's."""
    groups: dict[str, str] = {}
    for value in values:
        controllers, colon, path = value.rpartition(":")
        if not colon and len(values) > 1:
            text = f"invalid --cgroup argument: {value} (missing <controller>: prefix)"
            raise RuntimeFailure("invalid_argument", text)
        for controller in controllers.split(","):
            if colon and not controller:
                text = f"invalid --cgroup argument: {value} (empty <controller> prefix)"
                raise RuntimeFailure("invalid_argument", text)
            if controller in groups:
                text = f"invalid --cgroup argument(s): controller {controller} specified multiple times"
                raise RuntimeFailure("invalid_argument", text)
            groups[controller] = path
    return groups


def _exec_process(options: argparse.Namespace, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the process object: the file's, or the container's own changed by the options."""
    process: dict[str, Any]
    if options.process:
        with open(options.process, encoding="utf-8") as file:
            process = json.load(file)
            return process
    process = dict(spec["process"])
    process["args"] = options.args[1:] if options.args[:1] == ["--"] else options.args
    if not process["args"]:
        raise RuntimeFailure("invalid_argument", "exec args cannot be empty")
    process["terminal"] = options.tty
    process["env"] = [*(process.get("env") or ()), *options.env]
    if options.cwd:
        process["cwd"] = options.cwd
    if options.apparmor:
        process["apparmorProfile"] = options.apparmor
    if options.process_label:
        process["selinuxLabel"] = options.process_label
    if options.no_new_privs:
        process["noNewPrivileges"] = True
    if options.cap:
        sets = dict(process.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted"):
            sets[name] = [*(sets.get(name) or ()), *options.cap]
        if sets.get("inheritable") is not None:
            # Ambient capabilities must be inheritable too, which the option does not make them.
            sets["ambient"] = [*(sets.get("ambient") or ()), *options.cap]
        process["capabilities"] = sets
    user = dict(process.get("user") or {})
    if options.user:
        uid, _, gid = options.user.partition(":")
        if not uid.isdigit() or (gid and not gid.isdigit()):
            raise RuntimeFailure("invalid_argument", f"bad uid or gid: {options.user}")
        user = {**user, "uid": int(uid), **({"gid": int(gid)} if gid else {})}
    user["additionalGids"] = [*(user.get("additionalGids") or ()), *options.additional_gids]
    process["user"] = user
    return process


def kill(options: argparse.Namespace) -> int:
    container.kill(state_dir(options), _parse_signal(options.signal), all=options.all)
    return 0


def _parse_signal(text: str) -> int:
    if text.isdigit():
        return int(text)
    name = text.upper()
    try:
        return signal.Signals[name if name.startswith("SIG") else f"SIG{name}"].value
    except KeyError as error:
        raise RuntimeFailure("invalid_argument", f'unknown signal "{text}"') from error


def delete(options: argparse.Namespace) -> int:
    _delete(options, force=options.force)
    return 0


def _delete(options: argparse.Namespace, *, force: bool) -> None:
    directory = state_dir(options)
    for warning in container.delete(directory, force=force):
        log.write(options, "warning", warning)
    shutil.rmtree(directory, ignore_errors=True)


def pause(options: argparse.Namespace) -> int:
    container.pause(state_dir(options))
    return 0


def resume(options: argparse.Namespace) -> int:
    container.resume(state_dir(options))
    return 0


def refuse(options: argparse.Namespace) -> int:
    raise RuntimeFailure("not_implemented", f"{options.command} is not implemented: containers are not checkpointed")


def update(options: argparse.Namespace) -> int:
    resources: dict[str, Any] = {}
    if options.resources == "-":
        resources = json.load(sys.stdin)
    elif options.resources:
        with open(options.resources, encoding="utf-8") as file:
            resources = json.load(file)
    else:
        for option, (section, key) in UPDATE_NUMBERS.items():
            value = getattr(options, option.replace("-", "_"))
            if value is not None:
                resources.setdefault(section, {})[key] = value
        for option, key in (("cpuset_cpus", "cpus"), ("cpuset_mems", "mems")):
            if getattr(options, option):
                resources.setdefault("cpu", {})[key] = getattr(options, option)
    container.update(state_dir(options), resources)
    return 0


def parse_size(text: str) -> int:
    """Read a number with an optional unit ("512m"); "-1" is no limit."""
    found = re.fullmatch(r"(-?\d+)([bkmgt]?)b?", text.lower())
    if found is None:
        raise argparse.ArgumentTypeError(f"invalid size: {text!r}")
    return int(found[1]) << {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}[found[2]]
