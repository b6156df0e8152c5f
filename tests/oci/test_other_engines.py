"""podman and containerd run containers with `lightship-runtime` where they would take runc or crun.

Needs both from the distribution: `make oci-suite` installs them. Each has its own storage in the test's directory.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import BUSYBOX, LIMIT_S, RUNTIME, Command, run


def test_podman(podman: Command) -> None:
    done = podman("run", "--rm", BUSYBOX, "sh", "-c", "echo hi; echo no >&2; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, "hi\n", "no\n")
    assert podman("run", "--rm", "-t", BUSYBOX, "tty").stdout.strip() == "/dev/pts/0"
    started = podman("run", "-d", "--name", "stays", "--memory", "32m", BUSYBOX, "sleep", "1000")
    assert started.returncode == 0, started.stderr
    done = podman("exec", "-e", "A=b", "stays", "sh", "-c", "echo inside $A; exit 5")
    assert (done.returncode, done.stdout) == (5, "inside b\n")
    assert podman("pause", "stays").returncode == podman("unpause", "stays").returncode == 0
    assert podman("update", "--memory", "64m", "stays").returncode == 0
    assert "sleep 1000" in podman("top", "stays").stdout
    assert podman("stop", "-t", "0", "stays").returncode == 0
    assert podman("inspect", "-f", "{{.State.ExitCode}} {{.OCIRuntime}}", "stays").stdout.split() == ["137", RUNTIME]
    assert podman("start", "stays").returncode == podman("rm", "-f", "-t", "0", "stays").returncode == 0


def test_podman_in_a_user_namespace(podman: Command) -> None:
    mapped = ("--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000")
    done = podman("run", "--rm", *mapped, BUSYBOX, "cat", "/proc/self/uid_map")
    assert done.stdout.split() == ["0", "100000", "1000"], done.stderr


def test_podman_tells_what_cannot_be_run(podman: Command) -> None:
    assert podman("run", "--rm", BUSYBOX, "nowhere").returncode == 127
    assert podman("run", "--rm", BUSYBOX, "/etc").returncode == 126


@pytest.fixture
def ctr(folder: Path, archive: Path) -> Iterator[Command]:
    if shutil.which("containerd") is None:
        pytest.skip("needs containerd")
    config = folder / "config.toml"
    config.write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{folder}/sock"\n'
    )
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(["containerd", "-c", str(config)], stdout=log, stderr=log)

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        return run("ctr", "-a", f"{folder}/sock", *words)

    try:
        deadline = time.monotonic() + LIMIT_S
        while command("version").returncode:
            assert time.monotonic() < deadline and daemon.poll() is None
            time.sleep(0.1)
        assert command("images", "import", str(archive)).returncode == 0
        yield command
    finally:
        command("task", "kill", "-s", "KILL", "stays")
        command("task", "rm", "-f", "stays")
        daemon.terminate()
        daemon.wait()


def test_containerd(ctr: Command) -> None:
    with_ours = ("run", "--runc-binary", RUNTIME)
    done = ctr(*with_ours, "--rm", BUSYBOX, "ends", "sh", "-c", "echo hi; exit 7")
    assert (done.returncode, done.stdout) == (7, "hi\n"), done.stderr
    started = ctr(*with_ours, "-d", BUSYBOX, "stays", "sleep", "1000")
    assert started.returncode == 0, started.stderr
    done = ctr("task", "exec", "--exec-id", "one", "stays", "sh", "-c", "echo inside; exit 3")
    assert (done.returncode, done.stdout) == (3, "inside\n")
    assert ctr("task", "pause", "stays").returncode == 0
    assert "PAUSED" in ctr("task", "ls").stdout
    assert ctr("task", "resume", "stays").returncode == 0
    assert "pids.current" in ctr("task", "metrics", "stays").stdout
    assert ctr("task", "kill", "-s", "KILL", "stays").returncode == 0
    deadline = time.monotonic() + LIMIT_S
    while "STOPPED" not in ctr("task", "ls").stdout:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    ctr("task", "rm", "stays")
    assert ctr("container", "rm", "stays").returncode == 0
