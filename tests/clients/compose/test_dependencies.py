"""What starts when: depends_on, health checks, --wait, profiles."""

from __future__ import annotations

from harness.compose import Compose
from harness.docker import Docker

ORDERED = """
    services:
      database:
        image: busybox
        init: true
        command: ["sh", "-c", "sleep 0.5; touch /ready; exec sleep 1000"]
        healthcheck: {test: ["CMD", "test", "-e", "/ready"], interval: 200ms, retries: 50}
      migration:
        image: busybox
        command: ["sh", "-c", "exit 0"]
        depends_on: {database: {condition: service_healthy}}
      web:
        image: busybox
        init: true
        command: [sleep, "1000"]
        depends_on:
          migration: {condition: service_completed_successfully}
          database: {condition: service_healthy}
    """


def test_conditions(compose_v2: Compose) -> None:
    compose_v2.write(ORDERED)
    compose_v2.ok("up", "-d")
    database, migration, web = (compose_v2.container(name) for name in ("database", "migration", "web"))
    assert database["State"]["Health"]["Status"] == "healthy"
    healthy_since = database["State"]["Health"]["Log"][-1]["End"]
    assert migration["State"]["ExitCode"] == 0 and migration["State"]["FinishedAt"] <= web["State"]["StartedAt"]
    assert database["State"]["StartedAt"] < migration["State"]["StartedAt"] and healthy_since


def test_a_condition_that_fails(compose_v2: Compose) -> None:
    compose_v2.write(ORDERED.replace("exit 0", "exit 7"))
    result = compose_v2("up", "-d")
    assert result.code == 1 and 'service "migration" didn\'t complete successfully: exit 7' in result.err
    assert compose_v2.container("web")["State"]["Status"] == "created"


def test_wait_for_health(compose_v2: Compose) -> None:
    compose_v2.write("""
        services:
          slow:
            image: busybox
            init: true
            command: ["sh", "-c", "sleep 0.5; touch /ready; exec sleep 1000"]
            healthcheck: {test: ["CMD-SHELL", "test -e /ready"], interval: 200ms, retries: 50}
        """)
    compose_v2.ok("up", "-d", "--wait")
    assert compose_v2.container("slow")["State"]["Health"]["Status"] == "healthy"


def test_wait_for_one_that_never_gets_healthy(compose_v2: Compose) -> None:
    compose_v2.write("""
        services:
          ill:
            image: busybox
            init: true
            command: [sleep, "1000"]
            healthcheck: {test: ["CMD", "false"], interval: 100ms, retries: 2}
        """)
    result = compose_v2("up", "-d", "--wait")
    assert result.code == 1 and "unhealthy" in result.err


def test_profiles(compose_v2: Compose) -> None:
    compose_v2.write("""
        services:
          always: {image: busybox, init: true, command: [sleep, "1000"]}
          debug: {image: busybox, init: true, command: [sleep, "1000"], profiles: [tools]}
        """)
    compose_v2.ok("up", "-d")
    assert len(compose_v2.ids()) == 1
    compose_v2.ok("--profile", "tools", "up", "-d")
    assert len(compose_v2.ids()) == 2
    compose_v2.ok("--profile", "tools", "down", "-t", "0")


def test_shared_namespaces_follow_their_service(compose: Compose, docker: Docker) -> None:
    compose.write("""
        version: "2.4"
        services:
          main: {image: busybox, command: [sleep, "1000"]}
          side: {image: busybox, command: [sleep, "1000"], network_mode: "service:main", pid: "service:main"}
        """)
    compose.ok("up", "-d")
    main, side = compose.container("main"), compose.container("side")
    assert side["HostConfig"]["NetworkMode"] == side["HostConfig"]["PidMode"] == f"container:{main['Id']}"
    assert compose.ok("exec", "-T", "side", "hostname", "-i") == compose.ok("exec", "-T", "main", "hostname", "-i")


def test_restart_policy(compose: Compose) -> None:
    compose.write("""
        version: "3.8"
        services:
          again: {image: busybox, command: ["sh", "-c", "exit 1"], restart: "on-failure:2"}
        """)
    compose.ok("up", "-d")
    id = compose.container("again")["Id"]
    compose.docker.ok("wait", id)
    again = compose.container("again")
    assert again["RestartCount"] == 2 and again["State"]["ExitCode"] == 1
    assert again["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
