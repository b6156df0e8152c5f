"""A project's life: up, looking at it, changing it, down."""

from __future__ import annotations

import json
import threading

from harness.compose import Compose
from harness.docker import Docker
from harness.engine import Engine
from harness.waiting import wait_for

TWO = """
    version: "3.8"
    services:
      web:
        image: busybox
        command: ["sh", "-c", "echo web is up; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
        labels: {kind: front}
        ports: ["127.0.0.1::80"]
      back:
        image: busybox
        command: ["sh", "-c", "echo back is up; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
    """


def test_up_and_down(compose: Compose, docker: Docker, engine: Engine) -> None:
    compose.write(TWO)
    compose.ok("up", "-d")
    web = compose.container("web")
    assert web["State"]["Running"] and web["Config"]["Labels"]["kind"] == "front"
    assert list(web["NetworkSettings"]["Networks"]) == [f"{compose.name}_default"]
    assert len(compose.ids()) == 2 and compose.ids("web") == [web["Id"]]
    assert "front" in docker.ok("ps", "--format", "{{.Labels}}", "--filter", "label=kind")
    assert compose.ok("port", "web", "80").startswith("127.0.0.1:")
    assert "back is up" in compose.ok("logs", "back") and "web is up" not in compose.ok("logs", "back")
    compose.ok("down")
    assert docker.ok("ps", "-aq", "--filter", f"label=com.docker.compose.project={compose.name}") == ""
    assert docker.ok("network", "ls", "-q", "--filter", f"name={compose.name}") == ""


def test_only_what_changed_is_made_anew(compose: Compose) -> None:
    compose.write(TWO)
    compose.ok("up", "-d")
    web, back = compose.container("web")["Id"], compose.container("back")["Id"]
    compose.ok("up", "-d")
    assert (compose.container("web")["Id"], compose.container("back")["Id"]) == (web, back)
    compose.write(TWO.replace("kind: front", "kind: changed"))
    compose.ok("up", "-d", "-t", "0")
    assert compose.container("web")["Config"]["Labels"]["kind"] == "changed"
    assert compose.container("web")["Id"] != web and compose.container("back")["Id"] == back
    compose.ok("up", "-d", "-t", "0", "--force-recreate", "back")
    assert compose.container("back")["Id"] != back


def test_stop_start_restart_pause_kill(compose: Compose) -> None:
    compose.write(TWO)
    compose.ok("up", "-d")
    compose.ok("pause")
    assert compose.container("web")["State"]["Status"] == "paused"
    compose.ok("unpause")
    compose.ok("restart", "-t", "5", "web")
    assert compose.container("web")["State"]["Running"]
    compose.ok("stop", "-t", "5")
    assert compose.container("web")["State"]["ExitCode"] == 0
    assert not compose.container("back")["State"]["Running"]
    compose.ok("start")
    assert compose.container("back")["State"]["Running"]
    compose.ok("kill", "-s", "KILL", "web")
    wait_for(lambda: compose.container("web")["State"]["ExitCode"] == 137)
    compose.ok("rm", "-f", "web")
    assert len(compose.ids()) == 1


def test_scale(compose: Compose, docker: Docker) -> None:
    compose.write(TWO)
    compose.ok("up", "-d", "--scale", "back=3")
    assert len(compose.ids("back")) == 3
    web = compose.ids("web")[0]
    found = docker.ok("exec", web, "nslookup", "back").count("Address")
    assert found >= 3
    compose.ok("up", "-d", "-t", "0", "--scale", "back=1")
    assert len(compose.ids("back")) == 1


def test_exec_run_and_top(compose: Compose) -> None:
    compose.write(TWO)
    compose.ok("up", "-d")
    assert compose.ok("exec", "-T", "-e", "A=b", "web", "sh", "-c", "echo $A; hostname -i").startswith("b\n")
    assert compose("exec", "-T", "web", "sh", "-c", "exit 3").code == 3
    assert compose.ok("exec", "-T", "web", "cat", stdin=b"from outside") == "from outside"
    assert compose("run", "--rm", "-T", "web", "sh", "-c", "nslookup back >/dev/null && exit 4").code == 4
    assert compose.ok("run", "--rm", "-T", "--no-deps", "-e", "C=d", "back", "env").count("C=d") == 1
    assert "sleep" in compose.ok("top", "web")


def test_attached_until_one_exits(compose: Compose) -> None:
    compose.write("""
        version: "3.8"
        services:
          stays: {image: busybox, command: [sleep, "1000"], init: true}
          ends:
            image: busybox
            command: ["sh", "-c", "echo the last word; exit 5"]
            depends_on: [stays]  # else compose may stop what it has not started yet, and wait for it
        """)
    result = compose("up", "-t", "0", "--abort-on-container-exit", "--exit-code-from", "ends")
    assert result.code == 5 and "the last word" in result.out
    assert not compose.container("stays")["State"]["Running"]


def test_logs_follow(compose: Compose) -> None:
    compose.write("""
        version: "3.8"
        services:
          talks:
            image: busybox
            command: ["sh", "-c", "for i in 1 2 3; do echo word $$i; sleep 0.2; done"]
        """)
    compose.ok("up", "-d")
    with compose.background("logs", "-f", "--no-color") as following:
        out, _ = following.communicate(timeout=60)
    assert [line.split()[-1] for line in out.decode().splitlines() if "word" in line] == ["1", "2", "3"]
    assert "word 3" in compose.ok("logs", "--tail", "1") and "word 2" not in compose.ok("logs", "--tail", "1")


def test_events(compose: Compose) -> None:
    compose.write(TWO)
    compose.ok("up", "-d")
    with compose.background("events", "--json") as listening:
        assert listening.stdout is not None
        seen: list[str] = []

        def read() -> None:
            assert listening.stdout is not None
            for line in listening.stdout:
                seen.append(json.loads(line)["action"])

        reader = threading.Thread(target=read)
        reader.start()

        def is_heard() -> bool:
            compose.ok("exec", "-T", "web", "true")
            return any(action.startswith("exec_create") for action in seen)

        wait_for(is_heard, timeout_s=30)
        compose.ok("kill", "back")
        wait_for(lambda: "die" in seen)
        listening.terminate()
        reader.join()


def test_copy_in_and_out(compose_v2: Compose) -> None:
    compose_v2.write(TWO)
    compose_v2.ok("up", "-d")
    (compose_v2.directory / "file").write_text("content\n")
    compose_v2.ok("cp", "file", "web:/tmp/there")
    assert compose_v2.ok("exec", "-T", "web", "cat", "/tmp/there") == "content"
    compose_v2.ok("cp", "web:/tmp/there", "back-again")
    assert (compose_v2.directory / "back-again").read_text() == "content\n"


def test_listings(compose_v2: Compose) -> None:
    compose_v2.write(TWO)
    compose_v2.ok("up", "-d", "--wait")
    shown = [json.loads(line) for line in compose_v2.ok("ps", "--format", "json").splitlines()]
    assert {row["Service"]: row["State"] for row in shown} == {"web": "running", "back": "running"}
    projects = json.loads(compose_v2.ok("ls", "--format", "json"))
    assert {"Name": compose_v2.name, "Status": "running(2)"}.items() <= next(
        row for row in projects if row["Name"] == compose_v2.name
    ).items()
    images = json.loads(compose_v2.ok("images", "--format", "json"))
    assert {row["Repository"] for row in images} == {"busybox"}
    assert sorted(compose_v2.ok("config", "--services").split()) == ["back", "web"]
    assert "MEM" in compose_v2.ok("stats", "--no-stream")


def test_wait(compose_v2: Compose) -> None:
    # compose does not show when it has begun to wait, and does not wait for what has ended
    compose_v2.write("""
        services:
          ends: {image: busybox, command: ["sh", "-c", "sleep 4; exit 6"]}
        """)
    compose_v2.ok("up", "-d")
    assert compose_v2("wait", "ends").code == 6
