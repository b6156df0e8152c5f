"""Health checks as the stock CLI sees them: statuses, results, events, filters, and what ends them."""

from __future__ import annotations

import json
import time
from typing import Any

from harness.docker import Docker
from harness.http import Api
from harness.waiting import wait_for


def health(docker: Docker, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker.ok("inspect", "-f", "{{json .State.Health}}", name))
    return found


def run(docker: Docker, name: str, command: str, *flags: str) -> None:
    fast = ("--health-interval", "300ms", "--health-retries", "2", "--init")
    docker.ok("run", "-d", "--name", name, "--health-cmd", command, *fast, *flags, "busybox", "sleep", "1000")


def ps(docker: Docker, *filters: str) -> str:
    return docker.ok("ps", *(f"--filter={text}" for text in filters), "--format", "{{.Status}}")


def test_starting(docker: Docker, name: str) -> None:
    run(docker, name, "true", "--health-interval", "1000s")
    assert "(health: starting)" in ps(docker, f"name={name}", "health=starting")
    assert health(docker, name) == {"Status": "starting", "FailingStreak": 0, "Log": []}


def test_healthy(docker: Docker, name: str, api: Api) -> None:
    since = time.time()
    run(docker, name, "echo fine; echo $HOSTNAME >&2")
    wait_for(lambda: health(docker, name)["Status"] == "healthy")
    found = health(docker, name)
    assert found["FailingStreak"] == 0
    assert found["Log"][0]["ExitCode"] == 0
    assert "fine\n" in found["Log"][0]["Output"]
    assert found["Log"][0]["Start"] < found["Log"][0]["End"]
    assert "(healthy)" in ps(docker, f"name={name}", "health=healthy")
    assert ps(docker, f"name={name}", "health=starting") == ""
    actions = [
        json.loads(line)["Action"]
        for line in api.get(
            f'/events?since={since:.6f}&until={time.time():.6f}&filters={{"container":["{name}"],"type":["container"]}}'
        ).body.splitlines()
    ]
    probe = [action.partition(":")[0] for action in actions[2:]]
    assert probe[:4] == ["exec_create", "exec_start", "exec_die", "health_status"]
    assert actions[2] == "exec_create: /bin/sh -c echo fine; echo $HOSTNAME >&2"
    assert "health_status: healthy" in actions


def test_unhealthy_and_again_healthy(docker: Docker, name: str) -> None:
    run(docker, name, "test -e /tmp/ok")
    wait_for(lambda: health(docker, name)["Status"] == "unhealthy")
    assert health(docker, name)["FailingStreak"] >= 2
    assert "(unhealthy)" in ps(docker, f"name={name}")
    docker.ok("exec", name, "touch", "/tmp/ok")
    wait_for(lambda: health(docker, name)["Status"] == "healthy")
    wait_for(lambda: len(health(docker, name)["Log"]) == 5)


def test_a_late_check_is_killed(docker: Docker, name: str) -> None:
    run(docker, name, "echo begun; sleep 1001", "--health-timeout", "2s")
    wait_for(lambda: health(docker, name)["Log"] != [])
    result = health(docker, name)["Log"][0]
    assert result["ExitCode"] == -1
    assert result["Output"] == "Health check exceeded timeout (2s): begun\n"
    docker.ok("update", "--restart", "no", name)


def test_a_check_that_cannot_start(docker: Docker, name: str, api: Api) -> None:
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "1000"],
        "Healthcheck": {"Test": ["CMD", "/nosuch"], "Interval": 300_000_000},
    }
    assert api.post(f"/containers/create?name={name}", body).status == 201
    docker.ok("start", name)
    wait_for(lambda: health(docker, name)["Status"] == "unhealthy")
    result = health(docker, name)["Log"][0]
    assert result["ExitCode"] == -1
    assert 'exec: "/nosuch": stat /nosuch: no such file or directory' in result["Output"]


def test_output_is_cut(docker: Docker, name: str) -> None:
    run(docker, name, "head -c 100000 /dev/zero | tr '\\0' x")
    wait_for(lambda: health(docker, name)["Log"] != [])
    assert health(docker, name)["Log"][0]["Output"] == "x" * 4096 + "..."


def test_none(docker: Docker, name: str, api: Api) -> None:
    docker.ok("run", "-d", "--init", "--name", name, "--no-healthcheck", "busybox", "sleep", "1000")
    assert "Health" not in api.json(f"/containers/{name}/json")["State"]
    assert "health" not in ps(docker, f"name={name}")


def test_paused_and_stopped(docker: Docker, name: str) -> None:
    run(docker, name, "true")
    wait_for(lambda: health(docker, name)["Status"] == "healthy")
    docker.ok("pause", name)
    assert health(docker, name)["Status"] == "unhealthy"
    assert ps(docker, f"name={name}").endswith("(Paused)")
    docker.ok("unpause", name)
    wait_for(lambda: health(docker, name)["Status"] == "healthy")
    docker.ok("stop", "-t", "1", name)
    stopped = health(docker, name)
    assert (stopped["Status"], bool(stopped["Log"])) == ("unhealthy", True)
    docker.ok("start", name)
    assert health(docker, name)["Status"] in ("starting", "healthy")


def test_the_start_period(docker: Docker, name: str) -> None:
    run(docker, name, "false", "--health-start-period", "1000s", "--health-start-interval", "100ms")
    wait_for(lambda: len(health(docker, name)["Log"]) == 5)
    assert (health(docker, name)["Status"], health(docker, name)["FailingStreak"]) == ("starting", 0)
