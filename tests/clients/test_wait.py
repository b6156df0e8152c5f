"""`docker wait` and the three conditions."""

from __future__ import annotations

import time
from collections.abc import Callable

from harness.docker import Docker
from harness.http import Api, read_all, read_head


def test_wait_for_what_runs_and_what_has_ended(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 0.3; exit 5")
    assert docker.ok("wait", name) == "5"
    assert docker.ok("wait", name) == "5"


def test_several(docker: Docker, name: str) -> None:
    for code in (1, 2):
        docker("run", "--name", f"{name}-{code}", "busybox", "sh", "-c", f"exit {code}")
    assert docker.ok("wait", f"{name}-1", f"{name}-2").split() == ["1", "2"]


def test_p31_headers_come_before_the_exit(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "sh", "-c", "exit 8")
    connection = api.dial("POST", f"/containers/{name}/wait?condition=next-exit", headers={"Connection": "close"})
    status, headers = read_head(connection)
    assert (status, headers["content-type"]) == ("HTTP/1.1 200 OK", "application/json")
    assert api.post(f"/containers/{name}/start").status == 204
    assert b'{"StatusCode":8}' in read_all(connection)


def test_p32_removed(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--rm", "--name", name, "busybox", "sh", "-c", "exit 9")
    connection = api.dial("POST", f"/containers/{name}/wait?condition=removed", headers={"Connection": "close"})
    read_head(connection)
    api.post(f"/containers/{name}/start")
    assert b'{"StatusCode":9}' in read_all(connection)
    assert api.get(f"/containers/{name}/json").status == 404


def test_next_exit_of_a_stopped_container_waits(docker: Docker, api: Api, name: str) -> None:
    docker("run", "--name", name, "busybox", "sh", "-c", "exit 1")
    connection = api.dial("POST", f"/containers/{name}/wait?condition=next-exit", headers={"Connection": "close"})
    read_head(connection)
    time.sleep(0.1)
    api.post(f"/containers/{name}/start")
    assert b'{"StatusCode":1}' in read_all(connection)


def test_not_running_of_a_created_container_answers_at_once(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    assert api.post(f"/containers/{name}/wait").json() == {"StatusCode": 0}


def test_p33_an_exit_that_is_started_again_is_not_missed(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "sh", "-c", "sleep 0.2; exit 2")
    for _ in range(3):
        connection = api.dial("POST", f"/containers/{name}/wait?condition=next-exit", headers={"Connection": "close"})
        read_head(connection)
        api.post(f"/containers/{name}/start")
        assert b'{"StatusCode":2}' in read_all(connection)


def test_refusals(api: Api, sleeper: Callable[..., str]) -> None:
    answer = api.post("/containers/absent/wait")
    assert (answer.status, answer.message) == (404, "No such container: absent")
    answer = api.post(f"/containers/{sleeper()}/wait?condition=nonsense")
    assert answer.status == 400
    assert answer.message == 'invalid condition: "nonsense"'


def test_wait_on_a_paused_container_and_its_kill(docker: Docker, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    docker.ok("pause", container)
    client = docker.background("wait", container)
    docker.ok("kill", container)
    assert client.communicate(timeout=60)[0] == b"137\n"
