"""`docker exec`: what the process gets, its streams, its exit code, and when it is refused."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.http import Api, frames, read_all, read_head
from harness.waiting import wait_for

Sleeper = Callable[..., str]
UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


def start(api: Api, container: str, *command: str, **config: object) -> tuple[str, list[tuple[int, bytes]]]:
    """Run an exec over the raw API; its id and the frames of its output."""
    created = api.post(
        f"/containers/{container}/exec", {"Cmd": command, "AttachStdout": True, "AttachStderr": True, **config}
    )
    assert created.status == 201
    exec_id = created.json()["Id"]
    connection = api.dial(
        "POST",
        f"/exec/{exec_id}/start",
        headers=UPGRADE | {"Content-Type": "application/json"},
        body=b'{"Detach":false}',
    )
    assert read_head(connection)[0] == "HTTP/1.1 101 UPGRADED"
    return exec_id, frames(read_all(connection))


def test_streams_and_code(docker: Docker, sleeper: Sleeper) -> None:
    result = docker("exec", sleeper(), "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.code, result.out, result.err) == (3, "out\n", "err\n")


@pytest.mark.parametrize(
    ("flags", "script", "output"),
    [
        (["-e", "A=b"], "echo $A $FROM_RUN", "b yes"),
        (["-w", "/tmp"], "pwd", "/tmp"),
        (["-u", "app"], "id -un; id -G; echo $HOME", "app\n1000 10 50\n/home/app"),
        (["-u", "12:34"], "id -u; id -g", "12\n34"),
        (["-t"], "tty", "/dev/pts/0"),
        ([], "tty", "not a tty"),
        ([], "hostname", "inside"),
        ([], "grep CapEff /proc/self/status", "CapEff:\t00000000a80425fb"),
        ([], "grep -E '^Seccomp:' /proc/self/status", "Seccomp:\t2"),
        (["-u", "app"], "grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
    ],
)
def test_what_the_process_gets(docker: Docker, sleeper: Sleeper, flags: list[str], script: str, output: str) -> None:
    container = sleeper("-e", "FROM_RUN=yes", "--hostname", "inside")
    result = docker("exec", *flags, container, "sh", "-c", script)
    assert result.out.replace("\r\n", "\n").strip() == output


def test_privileged(docker: Docker, sleeper: Sleeper) -> None:
    bounding = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapBnd")
    ).split()[1]
    assert docker.ok("exec", "--privileged", sleeper(), "grep", "CapEff", "/proc/self/status").split()[1] == bounding


def test_the_containers_cgroup_and_namespaces(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    script = (
        "cd /proc; for n in mnt pid net ipc uts; do [ $(readlink self/ns/$n) = $(readlink 1/ns/$n) ] || echo $n; done"
    )
    assert docker.ok("exec", container, "sh", "-c", script) == ""
    assert docker.ok("exec", container, "sh", "-c", "diff /proc/self/cgroup /proc/1/cgroup && echo same") == "same"


def test_standard_input(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    assert docker.ok("exec", "-i", container, "sh", "-c", "cat; echo end", stdin="in\n") == "in\nend"
    data = os.urandom(3_000_000)
    done = subprocess.run([docker.cli, "exec", "-i", container, "cat"], env=docker.env, input=data, capture_output=True)
    assert done.stdout == data


def test_a_terminal(docker: Docker, sleeper: Sleeper) -> None:
    with docker.terminal("exec", "-it", sleeper(), "sh", size=(31, 91)) as terminal:
        terminal.expect("# ")
        terminal.send("stty size\r")
        terminal.expect("31 91")

        def is_resized() -> bool:
            """The CLI may listen for the signal only some time after the start."""
            terminal.resize(40, 120)
            terminal.send("stty size\r")
            return terminal.shows("\n40 120\r\n")

        wait_for(is_resized)
        terminal.send("exit 11\r")
        assert terminal.wait() == 11


def test_detached(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    assert docker.ok("exec", "-d", container, "sh", "-c", "sleep 0.1; touch /tmp/done") == ""
    wait_for(lambda: docker("exec", container, "ls", "/tmp/done").code == 0)


def test_detach_keys(docker: Docker, sleeper: Sleeper) -> None:
    with docker.terminal("exec", "-it", "--detach-keys", "ctrl-a,d", sleeper(), "sh") as terminal:
        terminal.expect("# ")
        terminal.send("\x01d")
        terminal.wait()


def test_p29_only_the_body_is_not_input(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    created = api.post(
        f"/containers/{container}/exec", {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True}
    ).json()["Id"]
    connection = api.dial(
        "POST",
        f"/exec/{created}/start",
        headers=UPGRADE | {"Content-Type": "application/json"},
        body=b'{"Detach":false,"Tty":false}',
    )
    connection.sendall(b"early ")
    read_head(connection)
    connection.sendall(b"late")
    connection.shutdown(1)
    assert b"".join(data for _, data in frames(read_all(connection))) == b"early late"


def test_p34_the_code_is_there_at_the_end_of_the_stream(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    for code in range(20):
        exec_id, _ = start(api, container, "sh", "-c", f"exit {code}")
        document = api.json(f"/exec/{exec_id}/json")
        assert (document["Running"], document["ExitCode"]) == (False, code)


def test_p36_a_failed_start_is_told_in_the_stream(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    exec_id, records = start(api, container, "absent")
    text = b"".join(data for _, data in records).decode()
    assert 'exec: "absent": executable file not found in $PATH' in text
    assert api.json(f"/exec/{exec_id}/json")["ExitCode"] == 127
    created = api.post(f"/containers/{container}/exec", {"Cmd": ["absent"]}).json()["Id"]
    answer = api.post(f"/exec/{created}/start", {"Detach": True})
    assert answer.status == 400 and "executable file not found" in answer.message


def test_inspect(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    created = api.post(
        f"/containers/{container}/exec", {"Cmd": ["sleep", "100"], "User": "app", "Tty": True, "AttachStdout": True}
    )
    exec_id = created.json()["Id"]
    document = api.json(f"/exec/{exec_id}/json")
    assert (document["Running"], document["ExitCode"], document["Pid"]) == (False, None, 0)
    assert document["ContainerID"] == container
    assert document["ProcessConfig"] == {
        "tty": True,
        "entrypoint": "sleep",
        "arguments": ["100"],
        "privileged": False,
        "user": "app",
    }
    assert api.post(f"/exec/{exec_id}/start", {"Detach": True, "Tty": True}).status == 200
    document = api.json(f"/exec/{exec_id}/json")
    assert document["Running"] is True and document["Pid"] > 0
    assert api.json(f"/containers/{container}/json")["ExecIDs"] == [exec_id]


def test_p37_finished_execs_are_dropped(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    start(api, container, "true")
    start(api, container, "absent")
    wait_for(lambda: not api.json(f"/containers/{container}/json")["ExecIDs"])


def test_p38_refused_where_nothing_runs(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    stopped = docker.ok("create", "--name", name, "busybox")
    answer = api.post(f"/containers/{name}/exec", {"Cmd": ["true"]})
    assert (answer.status, answer.message) == (409, f"container {stopped} is not running")
    assert docker.fails("exec", name, "true") == f"Error response from daemon: container {stopped} is not running"
    paused = sleeper()
    docker.ok("pause", paused)
    answer = api.post(f"/containers/{paused}/exec", {"Cmd": ["true"]})
    assert (answer.status, answer.message) == (409, f"Container {paused} is paused, unpause the container before exec")


def test_refused_requests(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    answer = api.post("/containers/absent/exec", {"Cmd": ["true"]})
    assert (answer.status, answer.message) == (404, "No such container: absent")
    answer = api.post(f"/containers/{container}/exec", {"Cmd": []})
    assert (answer.status, answer.message) == (400, "No exec command specified")
    for method, path in (
        ("GET", "/exec/absent/json"),
        ("POST", "/exec/absent/start"),
        ("POST", "/exec/absent/resize?h=1&w=1"),
    ):
        answer = api.request(method, path, {} if method == "POST" else None)
        assert (answer.status, answer.message) == (404, "No such exec instance: absent")


def test_started_twice(api: Api, sleeper: Sleeper) -> None:
    created = api.post(f"/containers/{sleeper()}/exec", {"Cmd": ["sleep", "100"]}).json()["Id"]
    assert api.post(f"/exec/{created}/start", {"Detach": True}).status == 200
    answer = api.post(f"/exec/{created}/start", {"Detach": True})
    assert (answer.status, answer.message) == (409, f"exec command {created} is already running")


def test_frames_are_as_the_start_asks(api: Api, sleeper: Sleeper) -> None:
    """An exec with a terminal whose start does not name it gets frames; docker-py relies on that."""
    _, records = start(api, sleeper(), "echo", "out", Tty=True)
    assert b"".join(data for _, data in records) == b"out\r\n"


def test_execs_end_with_the_container(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    client = docker.background("exec", container, "sh", "-c", "echo ready; sleep 1000")
    assert client.stdout is not None and client.stdout.readline() == b"ready\n"
    docker.ok("kill", container)
    client.communicate(timeout=60)
    assert client.returncode == 137


def test_without_output_attached(api: Api, docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    exec_id, records = start(api, container, "sh", "-c", "echo out; echo err >&2", AttachStderr=False)
    assert records == [(1, b"out\n")]


def test_many_at_once(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    clients = [docker.background("exec", container, "sh", "-c", f"echo {n}; exit {n}") for n in range(12)]
    outputs = [client.communicate(timeout=60)[0].decode().strip() for client in clients]
    assert outputs == [str(n) for n in range(12)]
    assert [client.returncode for client in clients] == list(range(12))
