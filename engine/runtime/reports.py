"""The commands of `lightship-runtime` that tell something: state, list, ps, events, spec, features."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import re
import select
import stat
import subprocess
from typing import Any

from . import capabilities, container, mount_options, namespaces, seccomp, seccomp_flags, state
from .cgroups import cgroup as cgroups
from .commands import DEFAULT_ROOT, state_dir
from .errors import RuntimeFailure

_HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


# The kernel notifies before it counts the kill.
_OOM_MS = 100


def _print(value: object) -> None:
    print(json.dumps(value, indent=2))


def show_state(options: argparse.Namespace) -> int:
    found = container.load(state_dir(options))
    _print({**found, "owner": ""})
    return 0


def list_containers(options: argparse.Namespace) -> int:
    rows = []
    # Nothing has been made yet where the usual directory is missing; one that the caller names is to be there.
    is_there = os.path.isdir(options.root) or options.root != DEFAULT_ROOT
    for id in sorted(os.listdir(options.root)) if is_there else ():
        try:
            directory = state_dir(options, id)
            owner = pwd.getpwuid(os.stat(directory).st_uid).pw_name
            rows.append({**container.load(directory), "owner": owner})
        except (RuntimeFailure, FileNotFoundError, KeyError):
            continue  # not one of ours, or gone meanwhile
    if options.quiet:
        for row in rows:
            print(row["id"])
    elif options.format == "json":
        print(json.dumps(rows, separators=(",", ":")))
    else:
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        _print_table([[name.upper() for name in columns], *([str(row[name]) for name in columns] for row in rows)])
    return 0


def _print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_processes(options: argparse.Namespace) -> int:
    pids = container.pids(state_dir(options))
    if options.format == "json":
        print(json.dumps(pids))
        return 0
    command = ["ps", *(options.ps_options or ["-ef"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeFailure("invalid_argument", f"{' '.join(command)}: {done.stderr.strip()}")
    header, *lines = done.stdout.splitlines()
    if "PID" not in header.split():
        raise RuntimeFailure("invalid_argument", "couldn't find PID field in ps output")
    column = header.split().index("PID")
    print(header)
    for line in lines:
        if int(line.split()[column]) in pids:
            print(line)
    return 0


def show_events(options: argparse.Namespace) -> int:
    directory = state_dir(options)
    interval_ms = _milliseconds(options.interval)
    group = container.cgroup(directory)
    if container.load(directory)["status"] == "stopped":
        raise RuntimeFailure("conflict", f"container with id {options.id} is not running")
    if options.stats:
        _print_event(options.id, "stats", _event_stats(group.stats()))
        return 0
    poll = select.poll()
    oom_fd = group.oom_fd()
    is_file = oom_fd >= 0 and stat.S_ISREG(os.fstat(oom_fd).st_mode)
    if oom_fd >= 0:
        poll.register(oom_fd, select.POLLPRI if is_file else select.POLLIN)
    known, patience_ms = group.oom_kills(), interval_ms
    while _runs(directory):
        if poll.poll(patience_ms):
            with contextlib.suppress(OSError):  # the group is gone
                os.pread(oom_fd, 4096, 0) if is_file else os.read(oom_fd, 4096)
            patience_ms = min(interval_ms, _OOM_MS)
        elif _runs(directory):
            patience_ms = interval_ms
            _print_event(options.id, "stats", _event_stats(group.stats()))
        if (kills := group.oom_kills()) > known:
            known = kills
            _print_event(options.id, "oom", None)
    return 0


def _runs(directory: str) -> bool:
    """Is there still something to tell of? Deleting the container ends its events."""
    try:
        return bool(container.load(directory)["status"] != "stopped")
    except RuntimeFailure:
        return False


def _milliseconds(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text)
    if found is None or not float(found[1]):
        raise RuntimeFailure("invalid_argument", f"duration interval must be greater than 0: {text!r}")
    return int(float(found[1]) * {"ms": 1, "s": 1000, "m": 60000}[found[2]])


def _print_event(id: str, kind: str, data: object) -> None:
    event = {"type": kind, "id": id} if data is None else {"type": kind, "id": id, "data": data}
    print(json.dumps(event, separators=(",", ":")), flush=True)  # a line that runc's callers compare as text


def _event_stats(stats: dict[str, Any]) -> dict[str, Any]:
    """Bring raw numbers into the shape of runc's events, which containerd and cadvisor read."""
    cpu, memory = stats["cpu"], stats["memory"]
    usage = {"limit": memory["limit"], "usage": memory["usage"], "max": memory["max_usage"]}
    blkio = {_camel(name): entries for name, entries in stats["blkio"].items() if entries}
    return {
        "cpu": {
            "usage": {
                "total": cpu["usage_ns"],
                "percpu": cpu["percpu_ns"],
                "kernel": cpu["kernel_ns"],
                "user": cpu["user_ns"],
            },
            "throttling": {
                "periods": cpu["throttling"]["periods"],
                "throttledPeriods": cpu["throttling"]["throttled_periods"],
                "throttledTime": cpu["throttling"]["throttled_ns"],
            },
        },
        "memory": {
            "cache": memory["stat"].get("cache", memory["stat"].get("file", 0)),
            "usage": {**usage, "failcnt": memory["failcnt"]},
            "raw": memory["stat"],
        },
        "pids": stats["pids"],
        "blkio": blkio,
    }


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def write_spec(options: argparse.Namespace) -> int:
    path = os.path.join(options.bundle, "config.json")
    try:
        with open(path, "x") as file:
            json.dump(example_spec(), file, indent="\t")
            file.write("\n")
    except FileExistsError as error:
        text = f"File {path} exists. Remove it first"
        raise RuntimeFailure("already_exists", text, error.errno or 0) from error
    return 0


def example_spec() -> dict[str, Any]:
    """Return a spec that runs a shell in `rootfs`, confined."""
    granted = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
    kinds = ["pid", "network", "ipc", "uts", "mount"]
    if not cgroups.hierarchies().v1:
        kinds.append("cgroup")
    plain = ["nosuid", "noexec", "nodev"]
    return {
        "ociVersion": state.OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), granted),
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "lightship",
        "mounts": [
            _mount("/proc", "proc", "proc", []),
            _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
            _mount(
                "/dev/pts",
                "devpts",
                "devpts",
                ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            _mount("/dev/shm", "tmpfs", "shm", [*plain, "mode=1777", "size=65536k"]),
            _mount("/dev/mqueue", "mqueue", "mqueue", plain),
            _mount("/sys", "sysfs", "sysfs", [*plain, "ro"]),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*plain, "relatime", "ro"]),
        ],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }  # fmt: skip


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def show_features(options: argparse.Namespace) -> int:
    found = cgroups.hierarchies()
    _print(
        {
            "ociVersionMin": "1.0.0",
            "ociVersionMax": state.OCI_VERSION,
            "hooks": list(_HOOKS),
            "mountOptions": mount_options.KNOWN,
            "linux": {
                "namespaces": sorted(namespaces.FLAGS),
                "capabilities": list(capabilities.NAMES),
                "cgroup": {"v1": bool(found.v1), "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
                "seccomp": {
                    "enabled": True,
                    "actions": sorted(seccomp.ACTIONS),
                    "operators": sorted(seccomp.OPERATORS),
                    "archs": sorted(seccomp.ARCHITECTURES),
                    "knownFlags": sorted(seccomp_flags.FLAGS),
                    "supportedFlags": sorted(seccomp_flags.FLAGS),
                },
                "apparmor": {"enabled": True},
                "selinux": {"enabled": False},
                "intelRdt": {"enabled": False},
                "mountExtensions": {"idmap": {"enabled": True}},
            },
            "annotations": {"io.github.seccomp.libseccomp.version": seccomp.version()},
        }
    )
    return 0
