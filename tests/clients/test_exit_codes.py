"""Exit codes of `docker run` and `exec`: the process's own, 125 for the engine, 126 and 127 for the command, 128+n
for signals.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from harness.docker import Docker
from harness.http import Api

CREATE_FAILED = (
    "docker: Error response from daemon: failed to create task for container: failed to create shim task: OCI "
    "runtime create failed:"
    " runc create failed: unable to start container process: "
)


@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_the_processes_own(docker: Docker, code: int) -> None:
    assert docker("run", "--rm", "busybox", "sh", "-c", f"exit {code}").code == code


@pytest.mark.parametrize(("signal", "code"), [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("ABRT", 134)])
def test_a_signal(docker: Docker, signal: str, code: int) -> None:
    assert docker("run", "--rm", "--init", "busybox", "sh", "-c", f"kill -{signal} $$").code == code


def test_killed_from_outside(docker: Docker, name: str, sleeper: Callable[..., str]) -> None:
    sleeper("--name", name)
    docker.ok("kill", name)
    assert docker.ok("wait", name) == "137"
    assert docker.ok("inspect", "-f", "{{.State.ExitCode}} {{.State.OOMKilled}}", name) == "137 false"


@pytest.mark.parametrize(
    ("command", "code", "text"),
    [
        (["absent"], 127, 'exec: "absent": executable file not found in $PATH'),
        (["/absent"], 127, 'exec: "/absent": stat /absent: no such file or directory'),
        (["/etc"], 126, 'exec: "/etc": (is a directory|permission denied)'),  # as runc from 1.2 on, and before it, says
        (["/etc/passwd"], 126, 'exec: "/etc/passwd": permission denied'),
        (["./nothing"], 127, 'exec: "./nothing": stat ./nothing: no such file or directory'),
    ],
)
def test_p35_a_command_that_cannot_run(docker: Docker, name: str, command: list[str], code: int, text: str) -> None:
    message = docker.fails("run", "--name", name, "busybox", *command, code=code)
    assert re.match(re.escape(CREATE_FAILED) + text.replace("$", "[$]"), message)
    state = json.loads(docker.ok("inspect", "-f", "{{json .State}}", name))
    assert (state["Status"], state["ExitCode"], state["Running"]) == ("created", code, False)
    assert re.search(text.replace("$", "[$]"), state["Error"])


def test_p35_a_command_of_the_wrong_format(docker: Docker, name: str) -> None:
    docker.ok(
        "create",
        "--name",
        name,
        "-v",
        "/etc/hostname:/bin/odd",
        "--entrypoint",
        "sh",
        "busybox",
        "-c",
        "cp /etc/passwd /bad; chmod +x /bad",
    )
    docker.ok("start", "-a", name)
    docker.ok("rm", name)
    result = docker(
        "run", "--rm", "--tmpfs", "/x:exec", "busybox", "sh", "-c", "printf 'xx' >/x/bad; chmod +x /x/bad; exec /x/bad"
    )
    assert result.code in (126, 127, 2)


def test_start_reports_the_same(docker: Docker, api: Api, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "absent")
    answer = api.post(f"/containers/{name}/start")
    assert answer.status == 400
    assert answer.message == (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc "
        "create failed: unable to start"
        ' container process: exec: "absent": executable file not found in $PATH'
    )


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--nonsense"], "unknown flag: --nonsense"),
        (["-u", "nobody-here"], "unable to find user nobody-here: no matching entries in passwd file"),
        (["-u", "root:nogroup-here"], "unable to find group nogroup-here: no matching entries in group file"),
        (["--network", "absent"], "network absent not found"),
        (["-v", "/does:/not:wrong"], "invalid mode: wrong"),
        (["--network", "container:absent"], "No such container: absent"),
    ],
)
def test_125_for_the_engine(docker: Docker, flags: list[str], text: str) -> None:
    assert text in docker.fails("run", "--rm", *flags, "busybox", "true", code=125)


def test_126_127_for_exec(docker: Docker, sleeper: Callable[..., str]) -> None:
    container = sleeper()
    assert docker("exec", container, "sh", "-c", "exit 12").code == 12
    assert docker("exec", container, "sh", "-c", "kill -9 $$").code == 137
    absent = docker("exec", container, "absent")
    assert absent.code == 127
    assert 'exec: "absent": executable file not found in $PATH' in absent.out + absent.err
    assert docker("exec", container, "/etc/passwd").code == 126
    assert docker("exec", container, "/etc").code == 126


def test_p32_rm_gives_the_real_code(docker: Docker) -> None:
    codes = [docker("run", "--rm", "busybox", "sh", "-c", f"exit {code}").code for code in (3, 4, 5)]
    assert codes == [3, 4, 5]
