"""`attach`: streams, detach keys, several clients; and the bytes of the hijacked connection."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from harness.docker import Docker
from harness.http import Api, frames, read_all, read_head
from harness.waiting import wait_for

UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}


def test_attach_sees_what_comes_and_the_exit_code(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "read line; echo got $line; exit 6")
    client = docker.background("attach", name)
    assert client.stdin is not None and client.stdout is not None
    client.stdin.write(b"word\n")
    client.stdin.flush()
    assert client.stdout.read() == b"got word\n"
    assert client.wait(10) == 6
    client.communicate()


def test_detach_keys_leave_it_running(docker: Docker, name: str) -> None:
    with docker.terminal("run", "-it", "--name", name, "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("\x10\x11")
        assert terminal.wait() == 0
    assert docker.ok("inspect", "-f", "{{.State.Status}}", name) == "running"
    with docker.terminal("attach", name) as terminal:
        terminal.send("echo $((20+3))\r")
        terminal.expect("\r\n23\r\n")
        terminal.send("exit\r")
        assert terminal.wait() == 0


def test_detach_keys_can_be_chosen(docker: Docker, name: str) -> None:
    with docker.terminal("run", "-it", "--detach-keys", "ctrl-x,x", "--name", name, "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("\x10\x11echo still\r")
        terminal.expect("still")
        terminal.send("\x18x")
        assert terminal.wait() == 0
    assert docker.ok("inspect", "-f", "{{.State.Running}}", name) == "true"


def test_half_of_the_detach_keys_goes_through(docker: Docker) -> None:
    with docker.terminal(
        "run", "--rm", "-it", "busybox", "sh", "-c", "stty raw -echo; echo ready; head -c 2 | od -An -tx1"
    ) as terminal:
        terminal.expect("ready")
        terminal.send("\x10a")
        terminal.expect("10 61")
        assert terminal.wait() == 0


def attached(docker: Docker, name: str, since: float) -> int:
    """How many clients have come since a moment."""
    seen = ("--since", f"{since:.6f}", "--until", f"{time.time():.6f}", "--filter", f"container={name}")
    return len(docker.ok("events", *seen, "--filter", "event=attach").splitlines())


def test_several_clients_see_the_same(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "read go; seq 1000")
    since = time.time()
    watchers = [docker.background("attach", "--no-stdin", name) for _ in range(2)]
    wait_for(lambda: attached(docker, name, since) == 2)
    docker.ok("attach", name, stdin="go\n")
    expected = "".join(f"{n}\n" for n in range(1, 1001)).encode()
    assert [watcher.communicate(timeout=60)[0] for watcher in watchers] == [expected, expected]


def test_p23_p25_upgraded_connection(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "-i", "--name", name, "busybox", "cat")
    connection = api.dial(
        "POST", f"/v1.44/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1", headers=UPGRADE
    )
    status, headers = read_head(connection)
    assert status == "HTTP/1.1 101 UPGRADED"
    assert headers["connection"] == "Upgrade" and headers["upgrade"] == "tcp"
    assert headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    connection.close()


@pytest.mark.parametrize(
    ("version", "tty", "content_type"),
    [("1.41", False, "raw-stream"), ("1.42", False, "multiplexed-stream"), ("1.44", True, "raw-stream")],
)
def test_p25_content_type(docker: Docker, api: Api, name: str, version: str, tty: bool, content_type: str) -> None:
    docker.ok("create", "-i", *(["-t"] if tty else []), "--name", name, "busybox", "cat")
    connection = api.dial("POST", f"/v{version}/containers/{name}/attach?stream=1&stdout=1", headers=UPGRADE)
    assert read_head(connection)[1]["content-type"] == f"application/vnd.docker.{content_type}"
    connection.close()


def test_p24_without_upgrade_header(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "-i", "--name", name, "busybox", "cat")
    connection = api.dial("POST", f"/v1.44/containers/{name}/attach?stream=1&stdout=1")
    status, headers = read_head(connection)
    assert status == "HTTP/1.1 200 OK"
    assert headers["content-type"] == "application/vnd.docker.raw-stream"
    assert "transfer-encoding" not in headers and "content-length" not in headers
    connection.close()


def test_p26_p28_p30_attach_before_start_loses_nothing(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "-i", "--name", name, "busybox", "sh", "-c", "echo first; cat; echo err >&2")
    connection = api.dial("POST", f"/containers/{name}/attach?stream=1&stdin=1&stdout=1&stderr=1", headers=UPGRADE)
    read_head(connection)
    assert api.post(f"/containers/{name}/start").status == 204
    connection.sendall(b"to stdin\n")
    connection.shutdown(1)
    records = frames(read_all(connection))
    assert b"".join(data for stream, data in records if stream == 1) == b"first\nto stdin\n"
    assert b"".join(data for stream, data in records if stream == 2) == b"err\n"


def test_p44_only_the_streams_asked_for(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2")
    connection = api.dial("POST", f"/containers/{name}/attach?stream=1&stderr=1", headers=UPGRADE)
    read_head(connection)
    api.post(f"/containers/{name}/start")
    assert frames(read_all(connection)) == [(2, b"err\n")]


def test_p44_logs_are_replayed_then_followed(docker: Docker, api: Api, name: str) -> None:
    docker.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "echo before; read go; echo after")
    while docker.ok("logs", name) != "before":
        time.sleep(0.02)
    connection = api.dial("POST", f"/containers/{name}/attach?stream=1&stdin=1&stdout=1&logs=1", headers=UPGRADE)
    read_head(connection)
    connection.sendall(b"go\n")
    assert b"".join(data for _, data in frames(read_all(connection))) == b"before\nafter\n"


def test_a_terminals_stream_is_raw(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "-t", "--name", name, "busybox", "echo", "line")
    connection = api.dial("POST", f"/containers/{name}/attach?stream=1&stdout=1", headers=UPGRADE)
    read_head(connection)
    api.post(f"/containers/{name}/start")
    assert read_all(connection) == b"line\r\n"


def test_stdin_once(docker: Docker, api: Api, name: str) -> None:
    """With `-i` as the CLI asks for it, the end of the first client's input is the end of the process's input."""
    api.post(
        f"/containers/create?name={name}", {"Image": "busybox", "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": False}
    )
    api.post(f"/containers/{name}/start")
    first = api.dial("POST", f"/containers/{name}/attach?stream=1&stdin=1&stdout=1", headers=UPGRADE)
    read_head(first)
    first.sendall(b"one\n")
    assert frames(first.recv(100)) == [(1, b"one\n")]
    first.close()
    second = api.dial("POST", f"/containers/{name}/attach?stream=1&stdin=1&stdout=1", headers=UPGRADE)
    read_head(second)
    second.sendall(b"two\n")
    assert frames(second.recv(100))[-1] == (1, b"two\n")
    second.close()
    assert docker.ok("inspect", "-f", "{{.State.Running}}", name) == "true"


def test_attach_to_what_cannot_be_attached(docker: Docker, api: Api, name: str, sleeper: Callable[..., str]) -> None:
    docker.ok("run", "--name", name, "busybox", "true")
    assert docker.fails("attach", name) == "You cannot attach to a stopped container, start it first"
    container = sleeper()
    docker.ok("pause", container)
    answer = api.post(f"/containers/{container}/attach?stream=1&stdout=1", headers=UPGRADE)
    assert answer.status == 409
    assert f"container {container} is paused, unpause the container before attach" in answer.body.decode()
    docker.ok("unpause", container)
    answer = api.post("/containers/absent/attach?stream=1", headers=UPGRADE)
    assert answer.status == 404 and "No such container: absent" in answer.body.decode()


def test_a_slow_client_loses_nothing(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "seq", "300000")
    connection = api.dial("POST", f"/containers/{name}/attach?stream=1&stdout=1", headers=UPGRADE)
    read_head(connection)
    api.post(f"/containers/{name}/start")
    time.sleep(1)
    output = b"".join(data for _, data in frames(read_all(connection)))
    assert output == b"".join(b"%d\n" % n for n in range(1, 300001))


def test_a_client_that_hangs_up_is_let_go(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "sh", "-c", "seq 200000; echo end")
    connection = api.dial("POST", f"/containers/{name}/attach?stream=1&stdout=1", headers=UPGRADE)
    read_head(connection)
    api.post(f"/containers/{name}/start")
    connection.close()
    assert docker.ok("wait", name) == "0"
    assert docker.ok("logs", "--tail", "1", name) == "end"
