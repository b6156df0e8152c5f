"""A bundle with a busybox root, and containers run from it by the runtime's library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightship.engine.runtime import container
from lightship.engine.runtime.cgroups import cgroup as cgroups

_APPLETS = [
    "sh",
    "cat",
    "echo",
    "id",
    "ls",
    "ps",
    "sleep",
    "true",
    "mount",
    "umount",
    "grep",
    "stat",
    "touch",
    "mkdir",
    "hostname",
    "tty",
    "env",
    "dd",
    "mknod",
    "kill",
    "wc",
]
_CAPABILITIES = [
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "FSETID",
        "FOWNER",
        "MKNOD",
        "NET_RAW",
        "SETGID",
        "SETUID",
        "SETFCAP",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "SYS_CHROOT",
        "KILL",
        "AUDIT_WRITE",
    ]
]


class Result:
    def __init__(self, output: str, code: int) -> None:
        self.output = output
        self.code = code


class Bundle:
    """One bundle, whose container is called `id`."""

    def __init__(self, path: Path, id: str) -> None:
        self.path = path
        self.id = id
        self.root = path / "rootfs"
        self.state_dir = str(path / "state")
        self.running: list[container.Process] = []
        self.cgroups_path = self.cgroup_path = f"/runtime-tests/{id}"

    def spec(self, *args: str, **process: Any) -> dict[str, Any]:
        plain = ["nosuid", "noexec", "nodev"]
        return {
            "ociVersion": "1.2.0",
            "process": {
                "args": list(args),
                "cwd": "/",
                "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0},
                "capabilities": {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")},
                **process,
            },
            "root": {"path": "rootfs"},
            "hostname": "inside",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc", "options": plain},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
                },
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
                },
                {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*plain, "ro"]},
                {
                    "destination": "/dev/shm",
                    "type": "tmpfs",
                    "source": "shm",
                    "options": [*plain, "mode=1777", "size=1m"],
                },
            ],
            "linux": {
                "cgroupsPath": self.cgroups_path,
                "resources": {"devices": [{"allow": False, "access": "rwm"}]},
                "namespaces": [{"type": kind} for kind in ("mount", "uts", "pid", "ipc", "network")],
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware", "/proc/missing"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            },
        }

    def create(self, spec: dict[str, Any], *, output_fd: int = -1, **options: Any) -> container.Init:
        stdio = container.Stdio(-1, output_fd, output_fd)
        init = container.create(self.id, str(self.path), spec, stdio=stdio, state_dir=self.state_dir, **options)
        self.running.append(init)
        return init

    def run(self, spec: dict[str, Any], **options: Any) -> Result:
        """Run to the end; return the output of both streams and the exit code."""
        reader, writer = os.pipe()
        try:
            init = self.create(spec, output_fd=writer, **options)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        init.start()
        output = read_all(reader)
        code = self.reap(init)
        container.delete(self.state_dir)
        return Result(output, code)

    def sh(self, script: str, **process: Any) -> Result:
        return self.run(self.spec("sh", "-c", script, **process))

    def start(self, *args: str) -> container.Init:
        """Start a container that stays."""
        init = self.create(self.spec(*(args or ("sleep", "1000"))))
        init.start()
        return init

    def execute(self, *args: str, groups: dict[str, str] | None = None, **process: Any) -> Result:
        reader, writer = os.pipe()
        spec = self.spec(*args, **process)["process"]
        stdio = container.Stdio(-1, writer, writer)
        try:
            process_ = container.exec_process(self.state_dir, spec, stdio=stdio, groups=groups)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        self.running.append(process_)
        return Result(read_all(reader), self.reap(process_))

    def reap(self, process: container.Process) -> int:
        """Wait for the process; return its exit code, or minus the signal."""
        result = os.waitid(os.P_PIDFD, process.pidfd, os.WEXITED)
        assert result is not None
        self.running.remove(process)
        os.close(process.pidfd)
        if process.console_fd >= 0:
            os.close(process.console_fd)
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status

    def cgroup_directories(self) -> list[str]:
        found = cgroups.hierarchies()
        mountpoints = [*found.v1.values(), *([found.unified] if found.unified else [])]
        return [path + self.cgroup_path for path in mountpoints]

    def close(self) -> None:
        container.delete(self.state_dir, force=True)
        for process in list(self.running):
            if isinstance(process, container.Init):
                process.close()
            self.reap(process)


def read_all(fd: int) -> str:
    chunks = []
    while chunk := os.read(fd, 65536):
        chunks.append(chunk)
    os.close(fd)
    return b"".join(chunks).decode()


def make_root(path: Path) -> None:
    busybox = next((p for p in ("/usr/bin/busybox", "/bin/busybox") if os.path.exists(p)), None)
    if busybox is None:
        pytest.skip("needs busybox-static")
    (path / "bin").mkdir(parents=True)
    shutil.copy(busybox, path / "bin/busybox")
    for name in _APPLETS:
        (path / "bin" / name).symlink_to("busybox")
    (path / "etc").mkdir()
    (path / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001:Alice:/home/alice:/bin/sh\n")
    (path / "etc/group").write_text("root:x:0:\nstaff:x:50:alice,bob\naudio:x:29:\nalice:x:1001:\n")
    (path / "home/alice").mkdir(parents=True)
    (path / "tmp").mkdir()


@pytest.fixture
def bundle(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bundle]:
    """A bundle; afterwards nothing of its container may be left."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    make_root(tmp_path / "rootfs")
    made = Bundle(tmp_path, f"t{os.getpid()}-{abs(hash(request.node.name)) % 10**8}")
    children = _children()
    fds = set(os.listdir("/proc/self/fd"))
    yield made
    made.close()
    assert not [path for path in made.cgroup_directories() if os.path.exists(path)]
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()
    assert _children() == children
    assert set(os.listdir("/proc/self/fd")) <= fds


def _children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
