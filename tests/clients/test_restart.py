"""Restart policies as the stock CLI sees them: statuses, counts, events, and what ends them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.http import Api
from harness.waiting import wait_for


def inspect(docker: Docker, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker.ok("inspect", name))[0]
    return found


def is_waiting(docker: Docker, name: str) -> bool:
    return bool(inspect(docker, name)["State"]["Status"] == "restarting")


def crash_loop(docker: Docker, name: str, *, count: int = 4) -> None:
    """Start a container that crashes, and wait until its back-off is long enough: 0.8 seconds, twice that for each
    restart more.
    """
    docker.ok("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", "echo crash; exit 3")
    wait_for(lambda: inspect(docker, name)["RestartCount"] >= count and is_waiting(docker, name))


def events(docker: Docker, name: str, since: float) -> list[str]:
    text = docker.ok(
        "events", "--since", f"{since:.6f}", "--until", f"{time.time():.6f}", "--filter", f"container={name}",
        "--filter", "type=container", "--format", "{{.Action}}",
    )  # fmt: skip
    return text.splitlines()


def test_on_failure_gives_up_after_its_count(docker: Docker, name: str) -> None:
    since = time.time()
    docker.ok("run", "-d", "--name", name, "--restart", "on-failure:2", "busybox", "sh", "-c", "echo run; exit 3")
    wait_for(lambda: inspect(docker, name)["State"]["Status"] == "exited")
    found = inspect(docker, name)
    assert (found["RestartCount"], found["State"]["ExitCode"]) == (2, 3)
    assert docker.ok("logs", name) == "run\nrun\nrun"
    assert events(docker, name, since) == ["create", "start", "die", "start", "die", "start", "die"]
    assert docker("wait", name).line == "3"


def test_a_success_is_no_failure(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--name", name, "--restart", "on-failure", "busybox", "true")
    assert docker.ok("wait", name) == "0"
    assert inspect(docker, name)["RestartCount"] == 0


def test_what_is_shown_while_it_waits(docker: Docker, name: str) -> None:
    crash_loop(docker, name, count=7)
    state = inspect(docker, name)["State"]
    assert (state["Running"], state["Restarting"], state["Pid"], state["ExitCode"]) == (True, True, 0, 3)
    shown = docker.ok("ps", "--filter", f"name={name}", "--format", "{{.State}} {{.Status}}")
    assert shown.startswith("restarting Restarting (3) ")
    assert docker.ok("ps", "-q", "--filter", "status=restarting", "--filter", f"name={name}")
    assert "is restarting, wait until the container is running" in docker.fails("exec", name, "true")
    assert "is restarting, wait until the container is running" in docker.fails("pause", name)
    message = docker.fails("rm", name)
    assert "stop the container before removing or force remove" in message


def test_stop_while_it_waits(docker: Docker, name: str) -> None:
    crash_loop(docker, name)
    since = time.time()
    docker.ok("stop", name)
    found = inspect(docker, name)
    assert (found["State"]["Status"], found["State"]["ExitCode"]) == ("exited", 3)
    assert found["RestartCount"] >= 4
    told = events(docker, name, since)
    assert told[-1] == "stop"
    docker.ok("start", name)
    assert inspect(docker, name)["RestartCount"] <= 2


def test_kill_and_remove_while_it_waits(docker: Docker, name: str) -> None:
    crash_loop(docker, name)
    docker.ok("kill", name)
    assert inspect(docker, name)["State"]["Status"] == "exited"
    docker.ok("rm", name)
    crash_loop(docker, name)
    docker.ok("rm", "-f", name)
    assert docker("inspect", name).code == 1


def test_a_manual_stop_is_final(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--name", name, "--restart", "always", "busybox", "sleep", "1000")
    docker.ok("kill", name)
    time.sleep(0.3)
    assert inspect(docker, name)["State"]["Status"] == "exited"
    docker.ok("restart", "-t", "0", name)
    assert inspect(docker, name)["State"]["Status"] == "running"
    docker.ok("stop", "-t", "0", name)
    assert inspect(docker, name)["State"]["Status"] == "exited"


def test_wait_sees_each_exit(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", "sleep 0.7; exit 5")
    assert docker.ok("wait", name) == "5"
    assert docker.ok("wait", name) == "5"
    docker.ok("rm", "-f", name)


def test_an_attached_client_goes_with_the_first_run(docker: Docker, name: str) -> None:
    result = docker("run", "--name", name, "--restart", "on-failure:1", "busybox", "sh", "-c", "echo once; exit 6")
    assert (result.out, result.code) == ("once\n", 6)
    wait_for(lambda: inspect(docker, name)["State"]["Status"] == "exited")
    assert docker.ok("logs", name) == "once\nonce"


def test_the_policy_is_updated(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "sleep 1; exit 2")
    docker.ok("update", "--restart", "on-failure:1", name)
    assert inspect(docker, name)["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 1}
    wait_for(lambda: inspect(docker, name)["State"]["Status"] == "exited")
    assert inspect(docker, name)["RestartCount"] == 1
    message = docker.fails("update", "--restart", "sometimes", name)
    assert "invalid restart policy: unknown policy 'sometimes'" in message


def test_auto_remove_and_a_policy_exclude_each_other(docker: Docker, name: str, api: Api) -> None:
    docker.ok("run", "-d", "--rm", "--name", name, "busybox", "sleep", "1000")
    answer = api.post(f"/containers/{name}/update", {"RestartPolicy": {"Name": "always"}})
    assert answer.status == 409
    assert "because AutoRemove is enabled for the container" in answer.json()["message"]
    docker.ok("rm", "-f", name)


def test_a_published_port_survives_a_restart(docker: Docker, name: str) -> None:
    docker.ok(
        *("run", "-d", "--name", name, "--restart", "always", "-p", "80", "busybox"),
        *("sh", "-c", "echo $HOSTNAME >/tmp/index.html; httpd -f -p 80 -h /tmp & sleep 1; kill -9 $!; exit 1"),
    )
    wait_for(lambda: inspect(docker, name)["RestartCount"] >= 2)
    wait_for(lambda: inspect(docker, name)["State"]["Status"] == "running")
    ports = inspect(docker, name)["NetworkSettings"]["Ports"]["80/tcp"]
    assert ports and ports[0]["HostPort"]
    docker.ok("rm", "-f", name)


@pytest.mark.skipif(ON_DOCKERD, reason="lightship's own label")
def test_an_unhealthy_container_is_restarted_by_its_label(docker: Docker, name: str) -> None:
    since = time.time()
    docker.ok(
        *("run", "-d", "--name", name, "--label", "lightship.restart-on-unhealthy=true", "--init"),
        *("--health-cmd", "exit 1", "--health-interval", "200ms", "--health-retries", "1", "busybox", "sleep", "1000"),
    )
    wait_for(lambda: inspect(docker, name)["RestartCount"] >= 1)
    wait_for(lambda: inspect(docker, name)["State"]["Status"] == "running")
    told = [action for action in events(docker, name, since) if not action.startswith("exec_")]
    assert told[:5] == ["create", "start", "health_status: unhealthy", "die", "start"]
    docker.ok("stop", "-t", "0", name)
    assert inspect(docker, name)["State"]["Status"] == "exited"


class TestDaemonStart:
    """What a daemon starts that finds containers stopped."""

    @pytest.fixture
    def engine(self, private_engine: Callable[..., Engine]) -> Engine:
        return private_engine("--live-restore=false")

    def test_policies_and_manual_stops(self, engine: Engine) -> None:
        docker = engine.docker
        policies = {"always": "always", "unless": "unless-stopped", "failure": "on-failure", "never": "no"}
        for name, policy in policies.items():
            docker.ok("run", "-d", "--name", name, "--restart", policy, "--init", "busybox", "sleep", "1000")
            docker.ok("run", "-d", "--name", f"{name}-stopped", "--restart", policy, "busybox", "sleep", "1000")
            docker.ok("stop", "-t", "0", f"{name}-stopped")
        docker.ok("create", "--name", "created", "--restart", "always", "busybox", "true")
        engine.stop()
        engine.start()
        running = set(docker.ok("ps", "--format", "{{.Names}}").split())
        assert running == {"always", "always-stopped", "unless", "failure", "failure-stopped"}
        assert inspect(docker, "always")["RestartCount"] == 0
