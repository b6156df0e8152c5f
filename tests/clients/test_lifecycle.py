"""start, stop, kill, restart, pause, rename, rm, top, resize, prune: states, messages and status codes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.http import Api
from harness.waiting import wait_for

Sleeper = Callable[..., str]
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")


def status(docker: Docker, ref: str) -> str:
    return docker.ok("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", ref)


def until_ready(docker: Docker, ref: str) -> None:
    wait_for(lambda: "ready" in docker.ok("logs", ref))


def test_start_and_stop(docker: Docker, name: str) -> None:
    docker.ok("create", "--init", "--name", name, "busybox", "sleep", "1000")
    assert docker.ok("start", name) == name
    assert status(docker, name) == "running 0"
    assert docker.ok("stop", name) == name
    assert status(docker, name) == "exited 143"
    docker.ok("start", name)
    assert status(docker, name) == "running 0"


def test_starting_and_stopping_twice_is_not_modified(api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    assert api.post(f"/containers/{container}/start").status == 304
    assert api.post(f"/containers/{container}/stop?t=0").status == 204
    assert api.post(f"/containers/{container}/stop?t=0").status == 304


def test_stop_kills_after_its_time(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--stop-timeout", "1000", "--name", name, "busybox", *STUBBORN)
    until_ready(docker, name)
    began = time.monotonic()
    docker.ok("stop", "-t", "1", name)
    assert time.monotonic() - began > 0.9
    assert status(docker, name) == "exited 137"


def test_p15_stop_at_once(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--stop-timeout", "1000", "--name", name, "busybox", *STUBBORN)
    until_ready(docker, name)
    docker.ok("stop", "-t", "0", name)
    assert status(docker, name) == "exited 137"


def test_stop_with_a_signal(docker: Docker, name: str) -> None:
    docker.ok(
        "run",
        "-d",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "trap 'exit 21' USR2; echo ready; while :; do sleep 0.1; done",
    )
    until_ready(docker, name)
    docker.ok("stop", "-s", "USR2", name)
    assert status(docker, name) == "exited 21"


@pytest.mark.parametrize("signal", ["HUP", "SIGHUP", "1", "hup"])
def test_kill_with_a_signal(docker: Docker, name: str, signal: str) -> None:
    docker.ok(
        "run", "-d", "--name", name, "busybox", "sh", "-c", "trap 'exit 7' HUP; echo ready; while :; do sleep 0.1; done"
    )
    until_ready(docker, name)
    docker.ok("kill", "-s", signal, name)
    assert docker.ok("wait", name) == "7"


def test_kill_refusals(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    container = docker.ok("create", "--name", name, "busybox")
    answer = api.post(f"/containers/{name}/kill")
    assert (answer.status, answer.message) == (
        409,
        f"cannot kill container: {name}: container {container} is not running",
    )
    running = sleeper()
    answer = api.post(f"/containers/{running}/kill?signal=NONSENSE")
    assert answer.status == 400 and answer.message.endswith("invalid signal: NONSENSE")


def test_restart(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    before = api.json(f"/containers/{container}/json")["State"]
    docker.ok("restart", container)
    after = api.json(f"/containers/{container}/json")["State"]
    assert after["Running"] and after["StartedAt"] > before["StartedAt"] and after["Pid"] != before["Pid"]
    docker.ok("stop", container)
    docker.ok("restart", "-t", "1", container)
    assert status(docker, container) == "running 0"


def test_pause_and_unpause(docker: Docker, api: Api, name: str, tmp_path: Path) -> None:
    script = "while :; do echo x >>/m/lines; sleep 0.02; done"
    docker.ok("run", "-d", "--init", "--name", name, "-v", f"{tmp_path}:/m", "busybox", "sh", "-c", script)
    lines = tmp_path / "lines"
    wait_for(lambda: lines.exists())
    docker.ok("pause", name)
    state = api.json(f"/containers/{name}/json")["State"]
    assert (state["Status"], state["Running"], state["Paused"]) == ("paused", True, True)
    size = lines.stat().st_size
    time.sleep(0.3)
    assert lines.stat().st_size == size
    docker.ok("unpause", name)
    assert status(docker, name) == "running 0"
    wait_for(lambda: lines.stat().st_size > size)


def test_pause_refusals(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    stopped = docker.ok("create", "--name", name, "busybox")
    answer = api.post(f"/containers/{name}/pause")
    assert (answer.status, answer.message) == (409, f"container {stopped} is not running")
    container = sleeper()
    answer = api.post(f"/containers/{container}/unpause")
    assert answer.status in (409, 500) and answer.message == f"Container {container} is not paused"  # dockerd: 500
    docker.ok("pause", container)
    answer = api.post(f"/containers/{container}/pause")
    assert (answer.status, answer.message) == (409, f"Container {container} is already paused")
    answer = api.post(f"/containers/{container}/start")
    assert (answer.status, answer.message) == (409, "cannot start a paused container, try unpause instead")


def test_stop_and_rm_of_a_paused_container(docker: Docker, sleeper: Sleeper) -> None:
    container = sleeper()
    docker.ok("pause", container)
    docker.ok("stop", "-t", "1", container)
    assert status(docker, container).startswith("exited")
    other = sleeper()
    docker.ok("pause", other)
    docker.ok("rm", "-f", other)


def test_rename(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    container = sleeper("--name", name)
    docker.ok("rename", name, f"{name}-new")
    assert docker.ok("inspect", "-f", "{{.Id}}", f"{name}-new") == container
    assert "No such container" in docker.fails("inspect", "--type", "container", name)
    docker.ok("create", "--name", name, "busybox")
    assert "is already in use by container" in docker.fails("rename", f"{name}-new", name)
    answer = api.post(f"/containers/{name}/rename?name={name}")
    assert answer.status == 400
    assert answer.message == "Renaming a container with the same name as its current name"
    answer = api.post(f"/containers/{name}/rename?name=")
    assert answer.status in (400, 500) and answer.message == "Neither old nor new names may be empty"
    answer = api.post(f"/containers/{name}/rename?name=a/b")
    assert answer.status == 400
    assert (
        answer.message
        == "Error when allocating new name: Invalid container name (/a/b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )


def test_rm(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    container = sleeper("--name", name)
    message = (
        f'cannot remove container "{name}": container is running: stop the container before removing or force remove'
    )
    answer = api.delete(f"/containers/{name}")
    assert (answer.status, answer.message) == (409, message)
    docker.ok("pause", name)
    answer = api.delete(f"/containers/{name}")
    assert (answer.status, answer.message) == (
        409,
        message.replace("is running: stop", "is paused and must be unpaused first: unpause"),
    ) or (answer.status == 409 and "container is paused and must be unpaused first" in answer.message)
    assert docker.ok("rm", "-f", container) == container
    assert docker.fails("rm", name) == f"Error response from daemon: No such container: {name}"


def test_rm_of_several(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    result = docker("rm", name, "absent")
    assert (result.code, result.out, result.err) == (
        1,
        f"{name}\n",
        "Error response from daemon: No such container: absent\n",
    )


def test_rm_links_are_refused(api: Api, docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    answer = api.delete(f"/containers/{name}?link=1")
    assert answer.status in (400, 404, 409, 500)
    assert "link" in answer.message or "name" in answer.message


def test_p63_rm_v_removes_anonymous_volumes(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "-v", "named:/n", "-v", "/anonymous", "rich:1")
    assert len(docker.ok("volume", "ls", "-q").split()) == 3
    docker.ok("rm", "-v", name)
    assert docker.ok("volume", "ls", "-q") == "named"


def test_run_rm_removes_anonymous_volumes(docker: Docker) -> None:
    docker.ok("run", "--rm", "-v", "/anonymous", "busybox", "true")
    assert docker.ok("volume", "ls", "-q") == ""


def test_top(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    container = sleeper("--name", name)
    header, *rows = docker.ok("top", name).splitlines()
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert any(row.endswith("sleep 1000") for row in rows)
    document = api.json(f"/containers/{name}/top?ps_args=-o%20pid,comm")
    assert document["Titles"] == ["PID", "COMMAND"]
    assert "sleep" in [process[1] for process in document["Processes"]]
    docker.ok("stop", name)
    assert docker.fails("top", name) == f"Error response from daemon: container {container} is not running"


def test_resize(docker: Docker, api: Api, name: str) -> None:
    docker.ok(
        "run",
        "-dit",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done",
    )
    until_ready(docker, name)
    answer = api.post(f"/containers/{name}/resize?h=33&w=77")
    assert answer.status == 200
    wait_for(lambda: "33 77" in docker.ok("logs", name))
    assert api.post(f"/containers/{name}/resize?h=x&w=1").status == 400


def test_p80_container_prune(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    keep = sleeper()
    gone = docker.ok("create", "-l", "prune=me", "busybox")
    other = docker.ok("create", "busybox")
    answer = api.post('/containers/prune?filters={"label":["prune=me"]}'.replace('"', "%22")).json()
    assert answer["ContainersDeleted"] == [gone] and isinstance(answer["SpaceReclaimed"], int)
    output = docker.ok("container", "prune", "-f")
    assert other in output and "Total reclaimed space:" in output
    assert docker.ok("ps", "-aq", "--no-trunc") == keep
    answer = api.post('/containers/prune?filters={"nonsense":["1"]}'.replace('"', "%22"))
    assert (answer.status, answer.message) == (400, "invalid filter 'nonsense'")
    assert api.post("/containers/prune").json()["ContainersDeleted"] in (None, [])


def test_a_process_that_daemonises_keeps_nothing_alive(docker: Docker, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "sh", "-c", "sleep 1000 & exit 0")
    assert status(docker, name) == "exited 0"


def test_init_reaps(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--init", "--name", name, "busybox", "sh", "-c", "(sleep 0.1 &) ; sleep 1000")

    def commands() -> list[str]:
        """What its processes execute; those that are dead and not reaped have a line too."""
        return [line.split(maxsplit=1)[1] for line in docker.ok("top", name, "-o", "pid,args").splitlines()[1:]]

    # The shell becomes the last command when the other one runs already
    wait_for(lambda: commands()[1:] == ["sleep 1000"])
