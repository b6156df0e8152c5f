"""What `lightship doctor` looks at: one function a subject, each gives findings with their cost and their fix.

Nothing is changed on the host; what can only be known by trying is tried in a process and namespace of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...engine import apparmor, host
from ...engine.config import DEFAULT_HOST
from ...engine.errors import Error
from . import netns
from .client import Client

OK, WARNING, MISSING = "ok", "warning", "missing"
_OLDEST_KERNEL = (5, 15)
_LEAST_FREE_BYTES = 5 << 30
_LEAST_FILES = 65536
_NO_OVERLAY = "fuse-overlayfs makes containers' roots, or, where that is missing, each gets a copy of its image"
_EARLIEST_CLOCK = 1_735_689_600  # 2025: before it no certificate of a registry is valid
_V1_CONTROLLERS = ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids")
_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing and its state; `cost` says what does not work, `fix` what to type."""

    name: str
    state: str
    found: str
    cost: str = ""
    fix: str = ""


def _verdict(name: str, is_well: bool, found: str, *, cost: str, fix: str, essential: bool = False) -> Finding:
    if is_well:
        return Finding(name, OK, found)
    return Finding(name, MISSING if essential else WARNING, found, cost, fix)


def root() -> Iterator[Finding]:
    user = os.geteuid()
    yield _verdict(
        "root", user == 0, f"user {user}", cost="no engine can be started", fix="run it with sudo", essential=True
    )


def kernel() -> Iterator[Finding]:
    release = platform.release()
    version = tuple(int(part) for part in release.split("-")[0].split(".")[:2])
    yield _verdict(
        "kernel",
        version >= _OLDEST_KERNEL,
        release,
        cost="mounts and processes are made by calls that it lacks",
        fix=f"boot a kernel from {'.'.join(map(str, _OLDEST_KERNEL))} on",
        essential=True,
    )
    if sys.version_info < (3, 12):
        cost = "each container costs about 1 MiB more than with Python 3.12, whose immortal objects forks share"
        yield Finding("python", OK, f"{platform.python_version()}; {cost}")
    else:
        yield Finding("python", OK, platform.python_version())


def filesystems() -> Iterator[Finding]:
    known = Path("/proc/filesystems").read_text().split()
    for name, cost in (("overlay", _NO_OVERLAY), ("tmpfs", "no /dev, no /dev/shm")):
        loadable = name in known or _can_load(name)
        yield _verdict(
            name,
            loadable,
            "in the kernel" if name in known else "a module" if loadable else "missing",
            cost=cost,
            fix=f"modprobe {name}",
            essential=name == "tmpfs",
        )


def _can_load(module: str) -> bool:
    program = shutil.which("modprobe", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    return bool(program) and subprocess.run([str(program), "-nq", module], capture_output=True).returncode == 0


def namespaces() -> Iterator[Finding]:
    for name, what in (("mnt", ""), ("pid", ""), ("net", ""), ("ipc", ""), ("uts", "")):
        yield _verdict(
            f"{name} namespace",
            Path(f"/proc/self/ns/{name}").exists(),
            "there" if Path(f"/proc/self/ns/{name}").exists() else f"missing{what}",
            cost="no container can be made",
            fix=f"a kernel with CONFIG_{name.upper()}_NS",
            essential=True,
        )
    yield _verdict(
        "cgroup namespace",
        Path("/proc/self/ns/cgroup").exists(),
        "there" if Path("/proc/self/ns/cgroup").exists() else "missing",
        cost="containers see the host's control groups",
        fix="a kernel with CONFIG_CGROUPS and cgroup namespaces",
    )
    limit = _number("/proc/sys/user/max_user_namespaces")
    yield _verdict(
        "user namespaces",
        limit > 0,
        f"up to {limit}" if limit > 0 else "none allowed",
        cost="`userns-remap` and idmapped mounts do not work",
        fix="sysctl -w user.max_user_namespaces=15000",
    )


def cgroups() -> Iterator[Finding]:
    version = host.cgroup_version()
    mounted = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    points = [line[4] for line in mounted if line[line.index("-") + 1].startswith("cgroup")]
    yield _verdict(
        "control groups",
        bool(points),
        f"version {version}" if points else "not mounted",
        cost="no container can be limited, and none started",
        fix="mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        essential=True,
    )
    if version == "2":
        there = set(Path("/sys/fs/cgroup/cgroup.controllers").read_text().split())
        wanted: tuple[str, ...] = _V2_CONTROLLERS
    else:
        lines = (line.split("\t") for line in Path("/proc/cgroups").read_text().splitlines()[1:])
        names = {name for name, _, _, enabled in lines if enabled == "1"}
        there = {name for name in names if any(name in Path(point).name.split(",") for point in points)}
        wanted = _V1_CONTROLLERS
    lacking = [name for name in wanted if name not in there]
    yield _verdict(
        "controllers",
        not lacking,
        f"without {', '.join(lacking)}" if lacking else ", ".join(wanted),
        cost="limits of these kinds are refused or discarded with a warning",
        fix="boot with cgroup_enable=" + (lacking[0] if lacking else "")
        if version == "2"
        else "mount them below /sys/fs/cgroup (Debian's cgroupfs-mount does)",
    )


def confinement() -> Iterator[Finding]:
    has_filter = host.seccomp()
    yield _verdict(
        "seccomp",
        has_filter,
        "in the kernel" if has_filter else "missing",
        cost="containers may use every system call",
        fix="a kernel with CONFIG_SECCOMP_FILTER",
    )
    yield _library(
        "libseccomp", "libseccomp.so.2", package="libseccomp2", cost="no container with the default profile can start"
    )
    is_on = apparmor.is_usable()
    yield Finding("AppArmor", OK, "containers get docker-default" if is_on else "not in this kernel: not used")
    if not is_on and "apparmor" in _read("/sys/kernel/security/lsm"):
        yield Finding(
            "AppArmor's parser", WARNING, "missing", "containers are not confined by AppArmor", "apt install apparmor"
        )


def _library(name: str, file: str, *, package: str, cost: str, essential: bool = True) -> Finding:
    try:
        ctypes.CDLL(file)
        is_there = True
    except OSError:
        is_there = False
    return _verdict(
        name, is_there, file if is_there else "missing", cost=cost, fix=f"apt install {package}", essential=essential
    )


def network() -> Iterator[Finding]:
    backends = [name for name, is_there in (("nftables", _has_nftables()), ("iptables", _has_iptables())) if is_there]
    yield _verdict(
        "firewall",
        bool(backends),
        " and ".join(backends) or "none",
        cost="no port can be published, and containers have no way out",
        fix="apt install libnftables1 (or iptables), in a kernel with nf_tables",
        essential=True,
    )
    for module in ("bridge", "veth"):
        is_there = Path(f"/sys/module/{module}").exists() or _can_load(module) or _is_builtin(module)
        yield _verdict(
            module,
            is_there,
            "there" if is_there else "missing",
            cost="only --network none and host work",
            fix=f"modprobe {module}",
        )
    forwards = host.ipv4_forwarding()
    yield Finding("IP forwarding", OK, "on" if forwards else "off: an engine turns it on, unless --ip-forward=false")
    has_slirp = shutil.which(netns.SLIRP) is not None
    yield _verdict(
        netns.SLIRP,
        has_slirp,
        "there" if has_slirp else "missing",
        cost="engines of `lightship run` and of `up --root` have no way out of their network",
        fix=f"apt install {netns.SLIRP}",
    )


def _has_nftables() -> bool:
    return _library("", "libnftables.so.1", package="", cost="").state == OK and (
        Path("/sys/module/nf_tables").exists() or _can_load("nf_tables") or _is_builtin("nf_tables")
    )


def _has_iptables() -> bool:
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    program = shutil.which("iptables", path=path)
    return program is not None and subprocess.run([program, "-nL"], capture_output=True).returncode == 0


def _is_builtin(module: str) -> bool:
    """Whether it is compiled into the kernel: modules.builtin says, or the kernel shows its symbols."""
    builtin = _read(f"/lib/modules/{platform.release()}/modules.builtin")
    symbols = {"bridge": "br_add_bridge", "veth": "veth_newlink", "nf_tables": "nf_tables_newtable"}
    return f"/{module}.ko" in builtin or f" {symbols[module]}" in _read("/proc/kallsyms")


def programs() -> Iterator[Finding]:
    wanted = (
        ("ps", "procps", "`docker top` does not work"),
        ("tini", "tini", "`docker run --init` does not work"),
        ("docker", "docker-cli", "there is no client here"),
    )
    for name, package, cost in wanted:
        found = shutil.which("docker-init") or shutil.which(name) if name == "tini" else shutil.which(name)
        yield _verdict(name, bool(found), found or "missing", cost=cost, fix=f"apt install {package}")


def resources(data_root: Path) -> Iterator[Finding]:
    folder = data_root
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield _verdict(
        "disk space",
        free >= _LEAST_FREE_BYTES,
        f"{free / (1 << 30):.1f} GiB free for {data_root}",
        cost="pulls and builds may fail half-way",
        fix="free some, or give the engine a --data-root on another disk",
    )
    kind = host.filesystem_type(folder)
    yield _verdict(
        "data root",
        kind not in ("overlay", "nfs", "nfs4", "fuse.sshfs", "ecryptfs", "vfat"),
        kind,
        cost=f"overlay mounts cannot lie on it: layers go into a file system in a file there, or {_NO_OVERLAY}",
        fix="give the engine a --data-root on ext4, xfs or btrfs, or mount a tmpfs there",
    )
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    yield _verdict(
        "open files",
        limit >= _LEAST_FILES or limit == resource.RLIM_INFINITY,
        f"up to {limit}",
        cost="some hundred containers are the most",
        fix="ulimit -Hn 1048576, or LimitNOFILE= of the service",
    )
    yield _verdict(
        "clock",
        time.time() > _EARLIEST_CLOCK,
        time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
        cost="registries' certificates look invalid",
        fix="timedatectl set-ntp true",
    )


def engine() -> Iterator[Finding]:
    path = DEFAULT_HOST.removeprefix("unix://")
    if not os.path.exists(path):
        yield Finding("engine", OK, f"none on {path}: `lightship up` starts one")
        return
    try:
        version, info = Client(path).get("/version"), Client(path).get("/info")
    except Error:
        yield Finding(
            "engine", WARNING, f"{path} does not answer", "clients cannot connect", f"rm {path}, then `lightship up`"
        )
        return
    name = version.get("Platform", {}).get("Name") or "dockerd"
    found = f"{name} {version['Version']} on {path}, storage driver {info['Driver']}"
    yield _verdict(
        "engine",
        name == "lightship",
        found,
        cost="lightship cannot have this socket",
        fix="systemctl stop docker.socket docker.service, or give lightship a --root or a -H of its own",
    )


def _number(path: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(Path(path).read_text())
    return 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
