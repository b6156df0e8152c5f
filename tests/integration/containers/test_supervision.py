"""Restarts and health checks go on while the daemon is dead, and the next one knows and tells all of it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.engine import Engine
from harness.waiting import wait_for

pytestmark = pytest.mark.root
MakeEngine = Callable[..., Engine]


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = engine.api.json(f"/containers/{name}/json")
    return found


def status(engine: Engine, name: str) -> str:
    return str(inspect(engine, name)["State"]["Status"])


def events(engine: Engine) -> list[dict[str, Any]]:
    answer = engine.api.get(f'/events?since=0&until={time.time():.6f}&filters={{"type":["container"]}}')
    return [json.loads(line) for line in answer.body.splitlines()]


def actions(engine: Engine, name: str) -> list[str]:
    return [event["Action"] for event in events(engine) if event["Actor"]["Attributes"]["name"] == name]


def exit_record(engine: Engine, id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((engine.data_root / "containers" / id / "exit.json").read_text())
        return found
    except FileNotFoundError:
        return {}


def test_restarts_while_away(private_engine: MakeEngine) -> None:
    engine = private_engine()
    flags = ("-d", "--restart", "on-failure:3", "-p", "80")
    id = engine.docker.ok("run", *flags, "--name", "loops", "busybox", "sh", "-c", "echo run; sleep 0.3; exit 7")
    before = inspect(engine, "loops")
    engine.kill()
    wait_for(lambda: exit_record(engine, id).get("status") == "exited")
    wait_for(lambda: not list((engine.exec_root / "tasks").glob("*/shim.sock")))
    engine.start()
    after = inspect(engine, "loops")
    assert (after["State"]["Status"], after["State"]["ExitCode"], after["RestartCount"]) == ("exited", 7, 3)
    assert before["State"]["StartedAt"] < after["State"]["StartedAt"] < after["State"]["FinishedAt"]
    assert actions(engine, "loops") == ["die", "start", "die", "start", "die", "start", "die"]
    assert engine.docker.ok("logs", "loops") == "run\nrun\nrun\nrun"
    engine.docker.ok("run", "-d", "-p", f"{port_of(before)}:80", "busybox", "true")


def port_of(shown: dict[str, Any]) -> str:
    return str(shown["NetworkSettings"]["Ports"]["80/tcp"][0]["HostPort"])


def test_a_restarting_container_is_adopted(private_engine: MakeEngine) -> None:
    engine = private_engine()
    docker = engine.docker
    command = ("sh", "-c", "echo run; exit 7")
    docker.ok("run", "-d", "--name", "loops", "--restart", "always", "-p", "80", "busybox", *command)
    before = inspect(engine, "loops")
    engine.kill()
    wait_for(lambda: Path(before["LogPath"]).read_text().count("run") >= 5)
    engine.start()
    wait_for(lambda: status(engine, "loops") == "restarting")
    after = inspect(engine, "loops")
    assert after["RestartCount"] >= 4
    assert port_of(after) == port_of(before)
    assert after["NetworkSettings"]["Networks"] == before["NetworkSettings"]["Networks"]
    told = actions(engine, "loops")
    assert told[:2] in (["die", "start"], ["start", "die"])
    docker.ok("stop", "loops")
    assert status(engine, "loops") == "exited"
    docker.ok("rm", "loops")


def test_killed_between_all_steps(private_engine: MakeEngine) -> None:
    """The daemon dies at any instant of a crash loop, a stop and a removal: what it says then is what is."""
    engine = private_engine()
    docker = engine.docker
    for round in range(5):
        name = f"loops{round}"
        docker.ok("run", "-d", "--name", name, "--restart", "always", "busybox", "sh", "-c", "sleep 0.1; exit 7")
        time.sleep(0.07 * round)
        with docker.background("stop", name) as stopping:
            time.sleep(0.01 * round)
            engine.kill()
            stopping.communicate()
        time.sleep(0.05 * round)
        engine.start()
        if status(engine, name) != "exited":
            count = inspect(engine, name)["RestartCount"]
            wait_for(lambda name=name, count=count: inspect(engine, name)["RestartCount"] > count)
        with docker.background("rm", "-f", name) as removing:
            time.sleep(0.015 * round)
            engine.kill()
            removing.communicate()
        engine.start()
        docker("rm", "-f", name)
        assert docker("inspect", name).code == 1
    wait_for(lambda: not list((engine.exec_root / "tasks").iterdir()))
    assert not list((engine.data_root / "containers").iterdir())


def test_a_killed_shims_container_is_restarted_by_the_daemon(private_engine: MakeEngine) -> None:
    engine = private_engine()
    engine.docker.ok("run", "-d", "--name", "victim", "--restart", "always", "busybox", "sleep", "1000")
    pid = inspect(engine, "victim")["State"]["Pid"]
    shim = int(re.search(r"PPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text())[1])  # type: ignore[index]
    os.kill(shim, signal.SIGKILL)
    wait_for(lambda: inspect(engine, "victim")["RestartCount"] == 1)
    wait_for(lambda: status(engine, "victim") == "running")
    stat = Path(f"/proc/{pid}/stat")
    assert not stat.exists() or " Z " in stat.read_text()
    assert actions(engine, "victim")[-2:] == ["die", "start"]


def test_health_while_away(private_engine: MakeEngine, tmp_path: Path) -> None:
    engine = private_engine()
    engine.docker.ok(
        *("run", "-d", "--name", "checked", "-v", f"{tmp_path}:/mnt"),
        *("--health-cmd", "echo look; test -e /mnt/ok && echo . >>/mnt/looked"),
        *("--health-interval", "200ms", "--health-retries", "1", "busybox", "sleep", "1000"),
    )
    wait_for(lambda: inspect(engine, "checked")["State"]["Health"]["Status"] == "unhealthy")
    engine.kill()
    (tmp_path / "ok").touch()
    wait_for(lambda: (tmp_path / "looked").exists() and len((tmp_path / "looked").read_text()) >= 2 * 6)
    engine.start()
    health = inspect(engine, "checked")["State"]["Health"]
    assert (health["Status"], health["FailingStreak"], len(health["Log"])) == ("healthy", 0, 5)
    assert health["Log"][-1]["Output"] == "look\n"
    told = [action for action in actions(engine, "checked") if "health" in action]
    # What the daemon was killed before it could acknowledge is told again
    assert told[-1] == "health_status: healthy" and set(told[:-1]) <= {"health_status: unhealthy"}
    assert "(healthy)" in engine.docker.ok("ps", "--format", "{{.Status}}")


def reboot(engine: Engine) -> None:
    """The host has been started again: nothing of what ran is there, and the boot has another id."""
    import sqlite3

    engine.kill()
    for saved in (engine.exec_root / "tasks").glob("*/state.json"):
        state = json.loads(saved.read_text())
        shim = int(re.search(r"PPid:\t(\d+)", Path(f"/proc/{state['pid']}/status").read_text())[1])  # type: ignore[index]
        for pid in (shim, state["pid"]):
            kill_and_wait(pid)
    with sqlite3.connect(engine.data_root / "lightship.db") as database:
        database.execute("UPDATE boots SET record = ?", (json.dumps({"id": "another"}),))
    database.close()


def kill_and_wait(pid: int) -> None:
    """When this returns, the process has given back what it had."""
    pidfd = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert select.select([pidfd], [], [], 60)[0]
    finally:
        os.close(pidfd)


def test_a_reboot_starts_dependencies_first(private_engine: MakeEngine) -> None:
    engine = private_engine()
    docker = engine.docker
    labels = ("--label", "com.docker.compose.project=p")
    run = ("run", "-d", "--restart", "always", "--init")
    docker.ok(*run, "--name", "base", "busybox", "sleep", "1000")
    docker.ok(*run, "--name", "guest", "--network", "container:base", "busybox", "sleep", "1000")
    docker.ok(*run, *labels, "--label", "com.docker.compose.service=db", "--name", "db", "busybox", "sleep", "1000")
    depends = "com.docker.compose.depends_on=db:service_started:false"
    docker.ok(*run, *labels, "--label", depends, "--name", "app", "busybox", "sleep", "1000")
    docker.ok(*run, "--name", "files", "--volumes-from", "app", "busybox", "sleep", "1000")
    docker.ok("run", "-d", "--name", "never", "--init", "busybox", "sleep", "1000")
    docker.ok("run", "-d", "--name", "unless", "--restart", "unless-stopped", "--init", "busybox", "sleep", "1000")
    docker.ok("stop", "unless")
    wait_for(lambda: len(list((engine.exec_root / "tasks").iterdir())) == 6)
    reboot(engine)
    engine.start()
    running = set(docker.ok("ps", "--format", "{{.Names}}").split())
    assert running == {"base", "guest", "db", "app", "files"}
    started = [event["Actor"]["Attributes"]["name"] for event in events(engine) if event["Action"] == "start"]
    assert started.index("base") < started.index("guest")
    assert started.index("db") < started.index("app") < started.index("files")
    assert inspect(engine, "never")["State"]["ExitCode"] == 255


def service(engine: Engine, name: str, script: str, *flags: str, depends: str = "") -> None:
    """Run a service of a compose project that can look into the engine's directory `gate`."""
    labels = {"project": "p", "service": name, "depends_on": depends}
    words = [word for key, text in labels.items() for word in ("--label", f"com.docker.compose.{key}={text}")]
    gate = ("--mount", f"type=bind,source={engine.root / 'gate'},target=/gate")
    command = ("run", "-d", "--init", "--restart", "on-failure", "--name", name, *words, *gate, *flags, "busybox")
    engine.docker.ok(*command, "sh", "-c", script)


@pytest.fixture
def project(private_engine: MakeEngine) -> Engine:
    """A project after a reboot, whose database is not healthy yet and whose migration has not ended."""
    engine = private_engine()
    gate = engine.root / "gate"
    gate.mkdir()
    health = ("--health-interval", "100ms", "--health-retries", "100000", "--health-cmd", "test -e /gate/healthy")
    sick = ("--health-interval", "100ms", "--health-retries", "1", "--health-cmd", "false")
    service(engine, "db", "sleep 1000", *health)
    service(engine, "migration", "until test -e /gate/done; do sleep 0.1; done", depends="db:service_started:true")
    service(engine, "sick", "sleep 1000", *sick)
    service(engine, "app", "sleep 1000", depends="db:service_healthy:false,sick:service_started:false")
    service(engine, "web", "sleep 1000", depends="migration:service_completed_successfully:false")
    service(engine, "patient", "sleep 1000", depends="sick:service_healthy:false,nosuch:service_healthy:false")
    service(engine, "proxy", "sleep 1000", depends="app:service_started:false")
    reboot(engine)
    engine.start()
    return engine


def running(engine: Engine) -> set[str]:
    return set(engine.docker.ok("ps", "--format", "{{.Names}}").split())


def test_a_reboot_waits_for_conditions(project: Engine) -> None:
    wait_for(lambda: running(project) == {"db", "migration", "sick", "patient"})
    (project.root / "gate" / "done").touch()
    wait_for(lambda: running(project) == {"db", "web", "sick", "patient"})
    (project.root / "gate" / "healthy").touch()
    wait_for(lambda: running(project) == {"db", "web", "sick", "patient", "app", "proxy"})
    told = [(event["Actor"]["Attributes"]["name"], event["Action"]) for event in events(project)]
    assert told.index(("migration", "die")) < told.index(("web", "start"))
    assert told.index(("sick", "health_status: unhealthy")) < told.index(("patient", "start"))
    assert told.index(("db", "health_status: healthy")) < told.index(("app", "start")) < told.index(("proxy", "start"))
    sick, patient = (inspect(project, name)["Id"] for name in ("sick", "patient"))
    assert f"{patient}: {sick} is not service_healthy, starting all the same" in project.log.read_text()


def test_what_waits_for_a_condition_is_the_users_still(project: Engine) -> None:
    project.docker.ok("start", "app")
    project.docker.ok("stop", "app")
    project.docker.ok("update", "--restart", "no", "web")
    (project.root / "gate" / "healthy").touch()
    (project.root / "gate" / "done").touch()
    wait_for(lambda: running(project) == {"db", "sick", "patient", "proxy"})
    assert {status(project, name) for name in ("app", "web")} == {"exited"}


def test_a_daemon_that_ends_waits_for_no_condition(project: Engine) -> None:
    wait_for(lambda: running(project) == {"db", "migration", "sick", "patient"})
    assert project.stop() == 0
    assert "not finished in time" not in project.log.read_text()
    project.start()
    assert status(project, "app") == "exited"
