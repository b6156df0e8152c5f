"""The daemon is killed with SIGKILL: containers, terminals, output and exit codes go on; the next daemon finds them.

dockerd does not pass these: its streams end with it. They say what lightship adds.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import host
from harness.engine import ON_DOCKERD, Engine
from harness.waiting import wait_for

pytestmark = pytest.mark.skipif(ON_DOCKERD, reason="dockerd's streams end with it")


@pytest.fixture
def engine(private_engine: Callable[..., Engine]) -> Engine:
    """An engine that this test may kill."""
    return private_engine()


def state(engine: Engine, ref: str) -> dict[str, object]:
    document: dict[str, object] = json.loads(engine.docker.ok("inspect", "-f", "{{json .State}}", ref))
    return document


def is_resized(engine: Engine) -> bool:
    """Whether the CLI has its answer to the start, which the first output can overtake: it resizes after that."""
    told = engine.docker.ok("events", "--since", "0", "--until", f"{time.time():.6f}", "--format", "{{.Action}}")
    return "resize" in told.split()


def test_run_it_goes_on_without_a_daemon(engine: Engine) -> None:
    with engine.docker.terminal("run", "-it", "--name", "term", "busybox", "sh") as terminal:
        terminal.expect("# ")
        wait_for(lambda: is_resized(engine))
        engine.kill()
        terminal.send("echo $((40+2))\r")
        terminal.expect("42\r\n")  # not "\r\n42": the CLI says that its wait has ended
        terminal.send("echo later >/tmp/file; exit 5\r")
        wait_for(lambda: not alive(engine, "term"))
    engine.start()
    assert (state(engine, "term")["Status"], state(engine, "term")["ExitCode"]) == ("exited", 5)
    assert "42" in engine.docker.ok("logs", "term")
    assert engine.docker.ok("wait", "term") == "5"
    assert engine.docker.ok("ps", "-q") == ""


def alive(engine: Engine, name: str) -> bool:
    """Whether anything still runs in the engine's cgroups."""
    from harness.engine import cgroups_below

    procs = [folder / "cgroup.procs" for folder in cgroups_below(engine.cgroup_parent)]
    return any(path.read_text().strip() for path in procs if path.exists())


def test_exec_it_goes_on_without_a_daemon(engine: Engine) -> None:
    container = engine.docker.ok("run", "-d", "--init", "busybox", "sleep", "1000")
    with engine.docker.terminal("exec", "-it", container, "sh") as terminal:
        terminal.expect("# ")
        engine.kill()
        terminal.send("echo $((40+2))\r")
        terminal.expect("\r\n42\r\n")
        engine.start()
        terminal.send("echo $((50+3)); exit 6\r")
        terminal.expect("53")
        assert terminal.wait() == 6
    assert state(engine, container)["Status"] == "running"
    assert engine.docker.ok("exec", container, "echo", "still") == "still"


def test_run_it_with_the_daemon_back_before_the_end(engine: Engine) -> None:
    with engine.docker.terminal("run", "-it", "--name", "term", "busybox", "sh") as terminal:
        terminal.expect("# ")
        wait_for(lambda: is_resized(engine))
        engine.restart()
        terminal.send("echo $((40+2))\r")
        terminal.expect("42\r\n")
        with engine.docker.terminal("attach", "term") as second:
            second.send("echo $((60+4))\r")
            second.expect("\r\n64\r\n")
            terminal.expect("64\r\n")
        terminal.send("exit 3\r")
        wait_for(lambda: state(engine, "term")["Status"] == "exited")
    assert state(engine, "term")["ExitCode"] == 3


def test_piped_output_of_run_is_complete(engine: Engine) -> None:
    client = subprocess.Popen(
        [engine.docker.cli, "run", "--name", "big", "busybox", "seq", "400000"],
        env=engine.docker.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert client.stdout is not None and client.stderr is not None
    first = client.stdout.read(100_000)
    engine.kill()
    assert b"error waiting for container" in client.stderr.readline()
    rest = client.stdout.read()
    client.wait(20)
    client.stdout.close()
    client.stderr.close()
    assert first + rest == b"".join(b"%d\n" % n for n in range(1, 400001))
    engine.start()
    assert state(engine, "big")["ExitCode"] == 0
    assert engine.docker.ok("logs", "--tail", "1", "big") == "400000"
    assert engine.docker.ok("logs", "big").count("\n") == 399999


@pytest.mark.parametrize("back_before_the_end", [True, False])
def test_a_detached_containers_end_is_known(engine: Engine, back_before_the_end: bool, tmp_path: Path) -> None:
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    container = engine.docker.ok(
        "run", "-d", "-v", f"{tmp_path}:/m", "busybox", "sh", "-c", "echo before; read x </m/go; echo after; exit 9"
    )
    engine.kill()
    if back_before_the_end:
        engine.start()
        assert state(engine, container)["Status"] == "running"
        fifo.write_text("go\n")
        assert engine.docker.ok("wait", container) == "9"
    else:
        fifo.write_text("go\n")
        wait_for(lambda: not alive(engine, container))
        engine.start()
    shown = state(engine, container)
    assert (shown["Status"], shown["ExitCode"], shown["Running"]) == ("exited", 9, False)
    assert str(shown["FinishedAt"]) > str(shown["StartedAt"])
    assert engine.docker.ok("logs", container).split() == ["before", "after"]
    assert engine.docker.ok("wait", container) == "9"


def test_rm_happens_after_the_restart(engine: Engine) -> None:
    engine.docker.ok("run", "-d", "--rm", "--name", "gone", "busybox", "sleep", "0.5")
    engine.kill()
    wait_for(lambda: not alive(engine, "gone"))
    engine.start()
    wait_for(lambda: engine.docker.ok("ps", "-aq") == "")


def test_everything_can_be_done_to_a_container_found_again(engine: Engine) -> None:
    docker = engine.docker
    container = docker.ok(
        "run", "-d", "--init", "-p", "18300:80", "--name", "web", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc"
    )
    before = json.loads(docker.ok("inspect", container))[0]
    engine.restart()
    after = json.loads(docker.ok("inspect", container))[0]
    for key in ("Id", "Created", "Path", "Args", "Config", "HostConfig", "NetworkSettings", "Mounts"):
        assert after[key] == before[key], key
    assert after["State"] == before["State"]
    assert docker.ok("exec", container, "hostname") == container[:12]
    docker.ok("pause", container)
    docker.ok("unpause", container)
    assert "httpd" in docker.ok("top", container)
    assert docker.ok("port", container).splitlines()[0] == "80/tcp -> 0.0.0.0:18300"
    message = docker.fails("run", "-p", "18300:80", "busybox", code=125)
    assert "port is already allocated" in message
    docker.ok("stop", container)
    docker.ok("start", container)
    docker.ok("rm", "-f", container)


def test_published_ports_are_served_while_no_daemon_is_there(engine: Engine) -> None:
    import socket

    engine.docker.ok("run", "-d", "--init", "-p", "18301:80", "busybox", "httpd", "-f", "-p", "80", "-h", "/etc")
    engine.kill()
    with engine.netns.entered(), socket.create_connection(("127.0.0.1", 18301), timeout=60) as connection:
        connection.sendall(b"GET /hostname HTTP/1.0\r\n\r\n")
        assert b" 200 OK\r\n" in connection.recv(100)
    engine.start()


def test_paused_stays_paused(engine: Engine) -> None:
    container = engine.docker.ok("run", "-d", "--init", "busybox", "sleep", "1000")
    engine.docker.ok("pause", container)
    engine.restart()
    assert state(engine, container)["Status"] == "paused"
    engine.docker.ok("unpause", container)
    assert state(engine, container)["Status"] == "running"


def test_a_clean_stop_leaves_containers_running(engine: Engine) -> None:
    container = engine.docker.ok("run", "-d", "--init", "busybox", "sleep", "1000")
    assert engine.stop() == 0
    assert alive(engine, container)
    engine.start()
    assert state(engine, container)["Status"] == "running"


def test_without_live_restore_a_clean_stop_ends_them(private_engine: Callable[..., Engine]) -> None:
    engine = private_engine("--live-restore=false")
    container = engine.docker.ok("run", "-d", "--init", "busybox", "sleep", "1000")
    engine.stop()
    assert not alive(engine, container)
    engine.start()
    assert state(engine, container)["Status"] == "exited"


@pytest.mark.parametrize("delay_s", [0.0, 0.005, 0.01, 0.02, 0.04])
def test_killed_amid_a_start_nothing_is_left(engine: Engine, delay_s: float) -> None:
    engine.docker.ok("run", "--rm", "-p", "18302:80", "busybox", "true")
    before = host.snapshot(engine)
    client = engine.docker.background("run", "-d", "--name", "half", "-p", "18302:80", "busybox", "sleep", "1000")
    time.sleep(delay_s)
    engine.kill()
    client.communicate(timeout=60)
    engine.start()
    with contextlib.suppress(AssertionError):
        engine.docker.ok("rm", "-f", "half")
    assert not host.leaks(before, engine, but="processes")  # the daemon is another one
    engine.docker.ok("run", "--rm", "-p", "18302:80", "busybox", "true")


def test_killed_amid_a_removal_nothing_is_left(engine: Engine) -> None:
    engine.docker.ok("run", "--rm", "busybox", "true")
    before = host.snapshot(engine)
    ids = [engine.docker.ok("run", "-d", "--init", "-v", "/anonymous", "busybox", "sleep", "1000") for _ in range(3)]
    client = engine.docker.background("rm", "-f", "-v", *ids)
    time.sleep(0.03)
    engine.kill()
    client.communicate(timeout=60)
    engine.start()
    engine.remove_containers()
    for volume in engine.api.json("/volumes")["Volumes"] or []:
        engine.api.delete(f"/volumes/{volume['Name']}")
    assert not host.leaks(before, engine, but="processes")  # the daemon is another one


def test_the_zygote_is_started_again(engine: Engine) -> None:
    """Without its fork server the daemon cannot start containers; it makes a new one."""
    zygotes = subprocess.run(["pgrep", "-P", str(engine.pid)], capture_output=True, text=True).stdout.split()
    running = engine.docker.ok("run", "-d", "--init", "busybox", "sleep", "1000")
    named = [pid for pid in zygotes if b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert named
    for pid in named:
        os.kill(int(pid), 9)
    wait_for(lambda: engine.docker("run", "--rm", "busybox", "true").code == 0)
    assert engine.docker.ok("exec", running, "echo", "here") == "here"


def test_the_memory_of_a_donor_outlives_the_daemon(engine: Engine) -> None:
    engine.docker.ok("run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000")
    engine.docker.ok("exec", "donor", "touch", "/dev/shm/kept")
    engine.restart()
    assert engine.docker.ok("run", "--rm", "--ipc", "container:donor", "busybox", "ls", "/dev/shm") == "kept"
