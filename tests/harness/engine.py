"""Engines to test: lightshipd as it is installed, or real dockerd, each in a network namespace with data of its own.

`LIGHTSHIP_TEST_ENGINE=dockerd` runs the client tests against the specification
(contrib/bench/debian-docker fetches it).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .docker import Docker
from .http import Api
from .namespaces import NetNS, join

DOCKERD_BIN = Path(__file__).resolve().parents[2] / ".cache" / "docker" / "bin"
HOST_ADDRESS = "198.51.100.1"
OUTSIDE_ADDRESS = "198.51.100.2"


class Engine:
    """A daemon on a private "machine": `netns` is its host network, `outside` a second host on the same wire."""

    name = ""

    def __init__(self, *flags: str, folder: str | None = None) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=folder))
        self.data_root, self.exec_root = self.root / "data", self.root / "run"
        self.socket = str(self.root / "docker.sock")
        self.host = f"unix://{self.socket}"
        self.cgroup_parent = f"/{self.root.name}"
        self.log = self.root / "daemon.log"
        self.flags = list(flags)
        (self.root / "client").mkdir()
        self.netns, self.outside = NetNS(), NetNS()
        join(self.netns, self.outside, here_address=f"{HOST_ADDRESS}/24", there_address=f"{OUTSIDE_ADDRESS}/24")
        self.docker = Docker(self.host, str(self.root / "client"))
        self.api = Api(self.socket)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    @property
    def common_flags(self) -> list[str]:
        return [
            "--data-root",
            str(self.data_root),
            "--exec-root",
            str(self.exec_root),
            "--host",
            self.host,
            "--pidfile",
            str(self.root / "daemon.pid"),
            "--cgroup-parent",
            self.cgroup_parent,
            *self.flags,
        ]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self, timeout_s: float = 30) -> float:
        """Start the daemon; return the seconds until it answered."""
        began = time.monotonic()
        with self.netns.entered(), self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() - began > timeout_s:
                raise RuntimeError(f"{self.name} did not start (exit code {self.process.poll()}):\n{self.log_tail()}")
            time.sleep(0.005)
        return time.monotonic() - began

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.api.get("/_ping").status == 200
        return False

    def kill(self) -> None:
        """SIGKILL the daemon, and only it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    def stop(self, timeout_s: float = 30) -> int:
        """SIGTERM the daemon; return its exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def restart(self) -> None:
        """The daemon is killed and started again."""
        self.kill()
        self.start()

    def remove_containers(self) -> None:
        containers = self.api.json("/containers/json?all=1")
        for container in containers:
            self.api.delete(f"/containers/{container['Id']}?force=1&v=1")

    def destroy(self) -> None:
        """End the daemon and everything it started; remove its files."""
        with contextlib.suppress(Exception):
            self.remove_containers()
        if self.process is not None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        self._kill_what_is_left()
        for point in mounts_below(str(self.root)):
            subprocess.run(["umount", "-l", point], capture_output=True)
        self._remove_cgroups()
        shutil.rmtree(self.root, ignore_errors=True)
        self.netns.close()
        self.outside.close()

    def _kill_what_is_left(self) -> None:
        """Containers, their shims, and what else is in the engine's network: a test may have killed the daemon."""
        containers = [
            int(pid)
            for folder in cgroups_below(self.cgroup_parent)
            for pid in (folder / "cgroup.procs").read_text().split()
        ]
        for pid in [*containers, *processes_in(self.netns), *processes_naming(str(self.root))]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while processes_in(self.netns) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _remove_cgroups(self) -> None:
        for folder in cgroups_below(self.cgroup_parent):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class Lightshipd(Engine):
    """Our own daemon, from the environment that runs the tests."""

    name = "lightship"

    def command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("lightshipd")), *self.common_flags]


class Dockerd(Engine):
    """Real dockerd from Debian's packages, with its own containerd below it."""

    name = "dockerd"

    def command(self) -> list[str]:
        binaries = Path(os.environ.get("DOCKERD_BIN", str(DOCKERD_BIN)))
        init = binaries / "docker-init"
        return [
            str(binaries / "dockerd"),
            *self.common_flags,
            "--userland-proxy-path",
            str(binaries / "docker-proxy"),
            # On a machine with systemd it would put containers into slices, with paths that the tests do not look at.
            *("--exec-opt", "native.cgroupdriver=cgroupfs"),
            *(["--init-path", str(init)] if init.exists() else []),
        ]

    def environment(self) -> dict[str, str]:
        binaries = os.environ.get("DOCKERD_BIN", str(DOCKERD_BIN))
        return {**os.environ, "PATH": f"{binaries}:/usr/sbin:/sbin:{os.environ['PATH']}"}


ON_DOCKERD = os.environ.get("LIGHTSHIP_TEST_ENGINE") == "dockerd"


def engine_under_test(*flags: str) -> Engine:
    return Dockerd(*flags) if ON_DOCKERD else Lightshipd(*flags)


def processes_naming(text: str) -> list[int]:
    """The processes, but the caller, whose command line holds the text."""
    found = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if pid != os.getpid() and text.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def processes_in(netns: NetNS) -> list[int]:
    """The processes whose network is this namespace."""
    wanted, found = os.fstat(netns.fd).st_ino, []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{pid}/ns/net").st_ino == wanted and pid != os.getpid():
                found.append(pid)
    return found


def mounts_below(folder: str) -> list[str]:
    """Mount points under the folder, the innermost first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    return sorted((p for p in points if p.startswith(folder)), key=len, reverse=True)


def cgroups_below(parent: str) -> list[Path]:
    """The cgroup directories of an engine in every hierarchy, the innermost first."""
    roots = [
        Path(line.split()[4])
        for line in Path("/proc/self/mountinfo").read_text().splitlines()
        if line.split(" - ")[1].startswith("cgroup")
    ]
    found: list[Path] = []
    for root in roots:
        top = root / parent.strip("/")
        if top.is_dir():
            found += [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]
    return found
