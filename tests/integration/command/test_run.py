"""`lightship run`: the command's status, its surroundings, and that nothing is left, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.docker import docker_cli
from harness.engine import cgroups_below, processes_naming
from lightship.api.command.place import Place

from .conftest import COMMAND, Lightship

DOCKER = docker_cli()


@pytest.mark.parametrize(
    ("words", "code"), [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill $$"], 143)]
)
def test_the_status_is_the_commands(lightship: Lightship, folder: Path, words: list[str], code: int) -> None:
    assert lightship("run", "-q", "--", *words).returncode == code
    assert list(folder.iterdir()) == []


def test_a_command_that_there_is_not(lightship: Lightship, folder: Path) -> None:
    done = lightship("run", "-q", "--", "/nope")
    assert (done.returncode, done.stderr) == (127, "lightship: /nope: No such file or directory\n")
    assert lightship("run", "-q", "--", "/etc").returncode == 126
    assert list(folder.iterdir()) == []


def test_a_wrong_flag_of_the_daemon_is_told_at_once(lightship: Lightship) -> None:
    done = lightship("run", "--nope", "--", "true")
    assert (done.returncode, done.stderr) == (1, "lightship: unknown flag: --nope\n")


def test_an_engine_that_does_not_start(lightship: Lightship, folder: Path) -> None:
    done = lightship("run", "-q", "--group", "no-such-group", "--", "true")
    assert done.returncode == 125 and "group no-such-group not found" in done.stderr
    assert list(folder.iterdir()) == []


def test_the_engine_is_the_commands_own(lightship: Lightship, archive: str) -> None:
    """Its images, its network with what is published there, its processes."""
    script = f"""
        {DOCKER} run -d -p 8080:80 --name web busybox sh -c 'echo hi > /tmp/x; httpd -f -p 80 -h /tmp' >&2
        {DOCKER} exec web sh -c 'until wget -qO- localhost/x; do sleep 0.1; done' >&2
        curl -s --retry 5 --retry-connrefused http://127.0.0.1:8080/x
        {DOCKER} ps --format '{{{{.Names}}}}'
        echo $$ $(readlink /proc/self/ns/net)
    """
    done = lightship("run", "--load", archive, "-q", "--", "sh", "-c", script)
    assert done.returncode == 0, done
    hi, name, last = done.stdout.splitlines()
    assert (hi, name) == ("hi", "web")
    pid, network = last.split()
    assert int(pid) < 100 and network != os.readlink("/proc/self/ns/net")


def test_two_at_once(archive: str, folder: Path) -> None:
    """The same ports, names and addresses."""
    script = f"{DOCKER} run -d -p 8080:80 --name web busybox sleep 100 && {DOCKER} port web"
    both = [
        subprocess.Popen([*COMMAND, "run", "--load", archive, "-q", "--", "sh", "-c", script], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for each in both:
        out, _ = each.communicate(timeout=100)
        assert each.returncode == 0 and b"80/tcp -> 0.0.0.0:8080" in out


@contextlib.contextmanager
def running(archive: str, *, command: str = "sleep 1000") -> Iterator[tuple[subprocess.Popen[bytes], Place]]:
    """A run with a container in it; the place is its engine's."""
    script = f"{DOCKER} run -d busybox sleep 1000 >/dev/null; echo $DOCKER_HOST; exec {command}"
    with subprocess.Popen(
        [*COMMAND, "run", "--load", archive, "-q", "--", "sh", "-c", script], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        root = Path(process.stdout.readline().decode().strip().removeprefix("unix://")).parent
        try:
            assert root.is_dir() and cgroups_below(Place(root).cgroup_parent)
            yield process, Place(root)
        finally:
            process.kill()


def gone(place: Place) -> bool:
    """Whether nothing is left of a run; it may take a moment."""
    assert place.root
    for _ in range(300):
        left = [place.root.exists(), processes_naming(str(place.root)), cgroups_below(place.cgroup_parent)]
        if not any(left):
            return True
        time.sleep(0.1)
    pytest.fail(f"left: {left}")


def test_nothing_is_left_where_it_is_killed(archive: str) -> None:
    with running(archive) as (process, place):
        process.kill()
        process.wait()
        assert gone(place)


def test_nothing_is_left_where_the_command_is_killed(archive: str) -> None:
    with running(archive, command="sleep 54321") as (process, place):
        os.kill(processes_naming("sleep\x0054321")[0], signal.SIGKILL)
        assert process.wait(30) == 137
        assert not place.root.exists() if place.root else False
        assert gone(place)


def test_sigterm_goes_to_the_command(archive: str) -> None:
    with running(archive, command="sh -c 'trap \"exit 9\" TERM; echo; while :; do sleep 0.1; done'") as (
        process,
        place,
    ):
        assert process.stdout and process.stdout.readline()
        process.terminate()
        assert process.wait(30) == 9
        assert gone(place)


def test_what_a_power_cut_left_is_swept_by_the_next_run(lightship: Lightship, folder: Path) -> None:
    left, others = folder / "lightship-run-left", folder / "lightship-run-being-made"
    (left / "data").mkdir(parents=True)
    (left / "ephemeral").touch()
    others.mkdir()
    assert lightship("run", "-q", "--", "true").returncode == 0
    assert list(folder.iterdir()) == [others]


def test_a_terminal_is_passed_on(folder: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND[0], [*COMMAND, "run", "-q", "--", "sh", "-c", "tty; stty size; read word; echo got $word"])
    shown = b""
    with contextlib.suppress(OSError):
        os.write(terminal, b"hello\n")
        while data := os.read(terminal, 4096):
            shown += data
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"/dev/pts/" in shown and b"got hello" in shown
