"""`lightship-runtime` as its callers use it: separate processes, files, sockets, exit codes."""

from __future__ import annotations

import array
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Bundle

Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(bundle: Bundle, tmp_path: Path) -> Iterator[Command]:
    root = str(tmp_path / "containers")

    def run(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lightship.engine.runtime", "--root", root, *args]
        # Files, not pipes: a created container keeps the command's standard streams.
        with open(tmp_path / "out", "w+") as out, open(tmp_path / "err", "w+") as err:
            done = subprocess.run(
                line, stdin=subprocess.DEVNULL, stdout=out, stderr=err, text=True, check=False, **options
            )
            out.seek(0), err.seek(0)
            return subprocess.CompletedProcess(line, done.returncode, out.read(), err.read())

    yield run
    for id in os.listdir(root) if os.path.isdir(root) else ():
        run("delete", "--force", id)


def write(bundle: Bundle, spec: dict[str, Any]) -> None:
    (bundle.path / "config.json").write_text(json.dumps(spec))


def test_a_containers_life(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("sleep", "1000")
    spec["annotations"] = {"a": "b"}
    write(bundle, spec)
    pid_file = bundle.path / "pid"
    assert command("create", "--bundle", str(bundle.path), "--pid-file", str(pid_file), "c").returncode == 0
    state = json.loads(command("state", "c").stdout)
    assert (state["status"], state["pid"], state["annotations"]) == ("created", int(pid_file.read_text()), {"a": "b"})
    assert "already exists" in command("create", "--bundle", str(bundle.path), "c").stderr
    assert command("start", "c").returncode == 0
    assert "cannot start an already running container" in command("start", "c").stderr
    assert [row["status"] for row in json.loads(command("list", "-f", "json").stdout)] == ["running"]
    assert command("exec", "c", "sh", "-c", "echo $0; exit 9").returncode == 9
    done = command("exec", "c", "nope")
    assert done.returncode == 255
    assert "exec failed: unable to start container process: exec" in done.stderr
    assert command("pause", "c").returncode == 0
    assert json.loads(command("state", "c").stdout)["status"] == "paused"
    assert command("resume", "c").returncode == 0
    assert json.loads(command("ps", "-f", "json", "c").stdout) == [state["pid"]]
    assert json.loads(command("events", "--stats", "c").stdout)["type"] == "stats"
    assert "that is not stopped" in command("delete", "c").stderr
    assert command("delete", "--force", "c").returncode == 0
    assert "container does not exist" in command("state", "c").stderr


def test_run_returns_the_exit_code_and_removes(bundle: Bundle, command: Command) -> None:
    write(bundle, bundle.spec("sh", "-c", "echo hello; exit 5"))
    done = command("run", "--bundle", str(bundle.path), "c")
    assert (done.returncode, done.stdout) == (5, "hello\n")
    assert json.loads(command("list", "-f", "json").stdout) == []


def test_errors_go_to_the_log_as_json(bundle: Bundle, command: Command) -> None:
    write(bundle, bundle.spec("nope"))
    log = bundle.path / "log.json"
    done = command("--log", str(log), "--log-format", "json", "create", "--bundle", str(bundle.path), "c")
    text = 'create failed: unable to start container process: exec: "nope": executable file not found in $PATH'
    assert done.returncode == 1
    assert json.loads(log.read_text())["msg"] == f"lightship-runtime {text}"
    assert not (bundle.path / "containers/c").exists()


def test_console_socket(bundle: Bundle, command: Command) -> None:
    write(bundle, bundle.spec("sh", "-c", "echo on $(tty)", terminal=True))
    path = str(bundle.path / "console.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert command("create", "--bundle", str(bundle.path), "--console-socket", path, "c").returncode == 0
        sock, _ = server.accept()
    with sock:
        name, ancillary, *_ = sock.recvmsg(64, socket.CMSG_SPACE(4))
    console_fd = array.array("i", ancillary[0][2])[0]
    try:
        assert name == b"/dev/ptmx"
        assert command("start", "c").returncode == 0
        assert os.read(console_fd, 64) == b"on /dev/pts/0\r\n"
    finally:
        os.close(console_fd)
    command("delete", "--force", "c")


def test_hooks_run_in_order_with_the_state_on_stdin(bundle: Bundle, command: Command) -> None:
    record = bundle.path / "record"
    program = f'read -r s; echo "$0 $s" >> {record}'
    inside = 'read -r s; echo "$0 $s" >> /record'
    spec = bundle.spec("true")
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    spec["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", inside if kind == "startContainer" else program, kind]}]
        for kind in kinds
    }
    write(bundle, spec)
    assert command("run", "--bundle", str(bundle.path), "c").returncode == 0
    lines = [line.split(" ", 1) for line in record.read_text().splitlines()]
    assert [name for name, _ in lines] == [kind for kind in kinds if kind != "startContainer"]
    assert [json.loads(state)["status"] for _, state in lines] == [
        "created",
        "created",
        "created",
        "running",
        "stopped",
    ]
    assert json.loads((bundle.root / "record").read_text().split(" ", 1)[1])["status"] == "created"


def test_a_failing_hook_undoes_the_container(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("true")
    spec["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", "echo why >&2; exit 3"]}]}
    write(bundle, spec)
    done = command("run", "--bundle", str(bundle.path), "c")
    assert done.returncode == 1
    assert "error running createRuntime hook #0: exit status 3, output: why" in done.stderr


def test_a_failing_poststart_hook_stops_the_container(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("sleep", "1000")
    spec["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    write(bundle, spec)
    assert command("create", "--bundle", str(bundle.path), "c").returncode == 0
    done = command("start", "c")
    assert done.returncode == 1
    assert "error running poststart hook #0: exit status 1" in done.stderr
    assert json.loads(command("state", "c").stdout)["status"] == "stopped"
    assert command("delete", "c").returncode == 0


def test_a_failing_poststop_hook_is_a_warning(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("true")
    touch = {"path": "/bin/touch", "args": ["touch", str(bundle.path / "reached")]}
    spec["hooks"] = {"poststop": [{"path": "/bin/false"}, touch]}
    write(bundle, spec)
    assert command("create", "--bundle", str(bundle.path), "c").returncode == 0
    done = command("delete", "c")
    assert done.returncode == 0
    assert 'level=warning msg="error running poststop hook #0: exit status 1' in done.stderr
    assert (bundle.path / "reached").exists()
    assert json.loads(command("list", "-f", "json").stdout) == []


def test_without_a_mount_namespace_delete_takes_the_mounts_away(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("sleep", "1000")
    for key in ("maskedPaths", "readonlyPaths"):
        del spec["linux"][key]
    spec["linux"]["namespaces"] = [kind for kind in spec["linux"]["namespaces"] if kind["type"] != "mount"]
    write(bundle, spec)
    assert command("create", "--bundle", str(bundle.path), "c").returncode == 0
    state = json.loads(command("state", "c").stdout)
    assert os.readlink(f"/proc/{state['pid']}/ns/mnt") == os.readlink("/proc/self/ns/mnt")
    assert (bundle.root / "proc/1").exists()
    assert command("start", "c").returncode == 0
    assert command("exec", "c", "ls", "/bin/busybox").stdout == "/bin/busybox\n"
    assert command("delete", "--force", "c").returncode == 0
    assert str(bundle.path) not in Path("/proc/self/mountinfo").read_text()
    spec["mounts"].append({"destination": "/bin/sh/x", "type": "tmpfs", "source": "none"})
    write(bundle, spec)
    assert command("create", "--bundle", str(bundle.path), "c").returncode == 1
    assert str(bundle.path) not in Path("/proc/self/mountinfo").read_text()


def test_spec_and_features(bundle: Bundle, command: Command) -> None:
    assert command("spec", "--bundle", str(bundle.path)).returncode == 0
    spec = json.loads((bundle.path / "config.json").read_text())
    spec["process"] |= {"terminal": False, "args": ["echo", "confined"]}
    write(bundle, spec)
    done = command("run", "--bundle", str(bundle.path), "c")
    assert (done.stdout, done.stderr) == ("confined\n", "")
    assert "rro" in json.loads(command("features").stdout)["mountOptions"]
    spec["linux"]["cgroupsPath"] = "/not/systemds"
    write(bundle, spec)
    assert "slice:prefix:name" in command("--systemd-cgroup", "run", "--bundle", str(bundle.path), "c").stderr


def test_files_are_named_from_where_the_caller_is(bundle: Bundle, command: Command, tmp_path: Path) -> None:
    write(bundle, bundle.spec("sleep", "1000"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert command("create", "-b", str(bundle.path), "--pid-file", "pid", "c", cwd=elsewhere).returncode == 0
    assert int((elsewhere / "pid").read_text()) == json.loads(command("state", "c").stdout)["pid"]
    command("start", "c")
    done = command("exec", "--pid-file", "/nowhere/pid", "c", "true")
    assert (done.returncode, "Traceback" in done.stderr) == (255, False)
    assert "exec failed: open /nowhere/.pid: no such file or directory" in done.stderr


def test_capabilities_that_cannot_be_granted_are_told(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("grep", "CapAmb", "/proc/self/status")
    spec["process"]["capabilities"] |= {"inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_WHAT"]}
    write(bundle, spec)
    done = command("run", "-b", str(bundle.path), "c")
    assert done.stdout.split() == ["CapAmb:", "0000000000000020"]
    assert "level=warning" in done.stderr
    assert "can't raise ambient capability CAP_CHOWN: operation not permitted" in done.stderr
    assert "ignoring unknown or unavailable capabilities: [CAP_WHAT]" in done.stderr


def test_exec_adds_a_capability_to_the_ambient_set_where_others_are_inherited(bundle: Bundle, command: Command) -> None:
    spec = bundle.spec("sleep", "1000", user={"uid": 1000, "gid": 1000})
    spec["process"]["capabilities"]["inheritable"] = ["CAP_SYSLOG"]
    spec["process"]["capabilities"]["bounding"].append("CAP_SYSLOG")
    write(bundle, spec)
    command("run", "-d", "-b", str(bundle.path), "c")
    done = command("exec", "--cap", "CAP_SYSLOG", "c", "grep", "CapEff", "/proc/self/status")
    assert done.stdout.split() == ["CapEff:", "0000000400000000"], done.stderr


def test_checkpoints_are_refused_in_words(command: Command) -> None:
    done = command("checkpoint", "--image-path", "x", "c")
    assert (done.returncode, "checkpoint is not implemented" in done.stderr) == (1, True)
