"""`docker run` and `create`: each flag of theirs changes what the process sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.http import Api
from harness.waiting import wait_for


def run(docker: Docker, *flags_and_command: str) -> str:
    return docker.ok("run", "--rm", *flags_and_command)


def test_output_goes_to_its_own_stream(docker: Docker) -> None:
    result = docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (result.code, result.out, result.err) == (0, "out\n", "err\n")


def test_rm_removes_it(docker: Docker, name: str) -> None:
    run(docker, "--name", name, "busybox", "true")
    assert docker.ok("ps", "-aq") == ""


def test_detached_prints_the_id(docker: Docker, name: str) -> None:
    container = docker.ok("run", "-d", "--name", name, "busybox", "true")
    assert re.fullmatch("[0-9a-f]{64}", container)
    assert docker.ok("inspect", "-f", "{{.Id}} {{.Name}}", name) == f"{container} /{name}"


def test_names_are_made_up_when_none_is_given(docker: Docker) -> None:
    container = docker.ok("create", "busybox")
    assert re.fullmatch("/[a-z]+_[a-z]+", docker.ok("inspect", "-f", "{{.Name}}", container))


def test_create_then_start_attached(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "busybox", "sh", "-c", "echo started; exit 3")
    result = docker("start", "-a", name)
    assert (result.code, result.out) == (3, "started\n")


@pytest.mark.parametrize(
    ("flags", "script", "output"),
    [
        (["-e", "A=b", "-e", "EMPTY="], "echo $A-${EMPTY-unset}-", "b--"),
        (["-w", "/tmp"], "pwd", "/tmp"),
        (["-w", "/made/for/it"], "pwd", "/made/for/it"),
        (["-u", "app"], "id", "uid=1000(app) gid=1000(app) groups=10(wheel),50(staff),1000(app)"),
        (["-u", "1234:5678"], "id", "uid=1234 gid=5678 groups=5678"),
        (["-u", "1000"], "id -u; id -g", "1000\n1000"),
        (["-u", "app:staff"], "id -g", "50"),
        (["-u", "daemon", "--group-add", "staff", "--group-add", "777"], "id -G", "1 50 777"),
        (["-u", "4321"], "id -u; id -g", "4321\n0"),
        (
            ["--hostname", "chosen", "--domainname", "example.org"],
            "hostname; cat /proc/sys/kernel/domainname",
            "chosen\nexample.org",
        ),
        (["--add-host", "other:10.1.2.3"], "grep other /etc/hosts", "10.1.2.3\tother"),
        (
            ["--dns", "192.0.2.53", "--dns-search", "example.org", "--dns-option", "ndots:2"],
            "grep -v '^#' /etc/resolv.conf | sort",
            "\nnameserver 192.0.2.53\noptions ndots:2\nsearch example.org",
        ),
        (["--init"], "cat /proc/1/comm", "docker-init"),
        (["--shm-size", "32m"], "df -k /dev/shm | awk 'NR==2 {print $2}'", "32768"),
        (["--pid", "host"], "[ $$ -gt 2 ] && echo sees the host", "sees the host"),
        (["--ipc", "none"], "mount | grep -c /dev/shm; true", "0"),
        (["--uts", "host"], "hostname", os.uname().nodename),
        (["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj", "500"),
        (["--read-only"], "touch /file 2>&1; true", "touch: /file: Read-only file system"),
        (["--read-only", "--tmpfs", "/tmp"], "touch /tmp/file && echo written", "written"),
    ],
)
def test_flags(docker: Docker, flags: list[str], script: str, output: str) -> None:
    assert run(docker, *flags, "busybox", "sh", "-c", script) == output.strip()


def test_env_file_and_environment_of_the_client(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("# comment\nFROM_FILE=1\nPASSED\n")
    result = docker("run", "--rm", "--env-file", str(tmp_path / "env"), "busybox", "env", env={"PASSED": "on"})
    assert {"FROM_FILE=1", "PASSED=on"} <= set(result.out.split())


def test_standard_environment(docker: Docker) -> None:
    lines = run(docker, "--hostname", "h", "busybox", "env").splitlines()
    assert set(lines) == {
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=h",
        "HOME=/root",
    }
    assert "HOME=/home/app" in run(docker, "-u", "app", "busybox", "env").splitlines()
    assert "TERM=xterm" in run(docker, "-t", "busybox", "env").splitlines()


def test_image_config_is_the_default(docker: Docker) -> None:
    assert run(docker, "rich:1") == "entry cmd"
    assert run(docker, "rich:1", "other") == "entry other"
    script = "id -un; pwd; echo $COLOUR"
    assert run(docker, "--entrypoint", "/bin/sh", "rich:1", "-c", script).splitlines() == ["app", "/work", "blue"]
    assert run(docker, "--entrypoint", "/bin/pwd", "rich:1") == "/work"


def test_p53_empty_entrypoint_differs_from_none(docker: Docker) -> None:
    assert run(docker, "--entrypoint", "", "rich:1", "echo", "plain") == "plain"


def test_cidfile(docker: Docker, tmp_path: Path) -> None:
    container = docker.ok("run", "-d", "--cidfile", str(tmp_path / "cid"), "busybox", "true")
    assert (tmp_path / "cid").read_text() == container
    assert "container ID file found" in docker.fails(
        "run", "--cidfile", str(tmp_path / "cid"), "busybox", "true", code=125
    )


def test_labels_and_label_file(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("from=file\n")
    container = docker.ok("create", "-l", "a=b", "-l", "bare", "--label-file", str(tmp_path / "labels"), "rich:1")
    assert json.loads(docker.ok("inspect", "-f", "{{json .Config.Labels}}", container)) == {
        "a": "b",
        "bare": "",
        "from": "file",
        "origin": "image",
    }


def test_standard_input_is_piped_and_ends(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "-i", "busybox", "sh", "-c", "cat; echo end", stdin="one\ntwo\n") == "one\ntwo\nend"


def test_without_i_standard_input_is_empty(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "busybox", "cat", stdin="ignored") == ""


def test_p27_half_close_keeps_the_output_coming(docker: Docker) -> None:
    script = "cat >/dev/null; for n in 1 2 3; do sleep 0.1; echo $n; done"
    assert docker.ok("run", "--rm", "-i", "busybox", "sh", "-c", script, stdin="x").split() == ["1", "2", "3"]


def test_much_binary_data_goes_through_unchanged(docker: Docker) -> None:
    data = os.urandom(5 * 1024 * 1024)
    done = subprocess.run(
        [docker.cli, "run", "--rm", "-i", "busybox", "cat"], env=docker.env, input=data, capture_output=True
    )
    assert done.stdout == data and done.returncode == 0


def test_p43_all_output_arrives(docker: Docker) -> None:
    out = run(docker, "busybox", "seq", "200000")
    assert out.splitlines()[-1] == "200000" and len(out.splitlines()) == 200000


def test_a_terminal(docker: Docker) -> None:
    with docker.terminal("run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.expect("# ")
        terminal.send("tty; stty size\r")
        terminal.expect("/dev/pts/0\r\n24 80")
        terminal.expect("# ")
        terminal.send("exit 7\r")
        assert terminal.wait() == 7


def test_a_terminal_is_resized(docker: Docker) -> None:
    with docker.terminal(
        "run",
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done",
        size=(30, 100),
    ) as terminal:
        terminal.expect("ready")

        def is_resized() -> bool:
            terminal.resize(44, 132)
            return terminal.shows("44 132")

        # The CLI listens for the signal only some time after the start
        wait_for(is_resized)


def test_control_c_reaches_the_process(docker: Docker) -> None:
    with docker.terminal(
        "run",
        "--rm",
        "-it",
        "busybox",
        "sh",
        "-c",
        "trap 'echo got it; exit 9' INT; echo ready; while :; do sleep 0.1; done",
    ) as terminal:
        terminal.expect("ready")
        terminal.send("\x03")
        terminal.expect("got it")
        assert terminal.wait() == 9


def test_signals_are_proxied(docker: Docker, name: str) -> None:
    client = docker.background(
        "run",
        "--rm",
        "--name",
        name,
        "busybox",
        "sh",
        "-c",
        "trap 'echo usr; exit 4' USR1; echo ready; while :; do sleep 0.1; done",
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"ready\n"
    client.send_signal(10)
    out, _ = client.communicate(timeout=60)
    assert (out, client.returncode) == (b"usr\n", 4)


def test_stop_signal_and_timeout_are_recorded_and_used(docker: Docker, name: str) -> None:
    docker.ok(
        "run",
        "-d",
        "--name",
        name,
        "--stop-signal",
        "USR1",
        "--stop-timeout",
        "33",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 5' USR1; echo ready; while :; do sleep 0.1; done",
    )
    assert docker.ok("inspect", "-f", "{{.Config.StopSignal}} {{.Config.StopTimeout}}", name) == "USR1 33"
    while docker.ok("logs", name) != "ready":
        time.sleep(0.05)
    docker.ok("stop", name)
    assert docker.ok("inspect", "-f", "{{.State.ExitCode}}", name) == "5"


def test_a_restart_policy_is_recorded(docker: Docker) -> None:
    container = docker.ok("create", "--restart", "on-failure:3", "busybox", "true")
    assert (
        docker.ok("inspect", "-f", "{{json .HostConfig.RestartPolicy}}", container)
        == '{"Name":"on-failure","MaximumRetryCount":3}'
    )


def test_a_name_in_use_is_refused_p9(docker: Docker, api: Api, name: str) -> None:
    first = docker.ok("create", "--name", name, "busybox")
    message = (
        f'Conflict. The container name "/{name}" is already in use by container "{first}". You have to remove '
        "(or rename) that"
        " container to be able to reuse that name."
    )
    answer = api.post(f"/containers/create?name={name}", {"Image": "busybox"})
    assert (answer.status, answer.message) == (409, message)
    assert message in docker.fails("run", "--name", name, "busybox", code=125)


@pytest.mark.parametrize("wanted", ["", "/"])
def test_p46_names_have_one_leading_slash(api: Api, name: str, wanted: str) -> None:
    answer = api.post(f"/containers/create?name={wanted}{name}", {"Image": "busybox"})
    assert answer.status == 201
    assert api.json(f"/containers/{name}/json")["Name"] == f"/{name}"
    assert api.json("/containers/json?all=1")[0]["Names"] == [f"/{name}"]


def test_p22_references(docker: Docker, name: str) -> None:
    container = docker.ok("create", "--name", name, "busybox")
    for reference in (container, container[:12], container[:6], name, f"/{name}"):
        assert docker.ok("inspect", "-f", "{{.Id}}", reference) == container


def test_p48_times_are_utc(api: Api, sleeper: Callable[..., str]) -> None:
    state = api.json(f"/containers/{sleeper()}/json")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", state["Created"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", state["State"]["StartedAt"])
    assert state["State"]["FinishedAt"] == "0001-01-01T00:00:00Z"


def test_p64_working_directory_is_made_for_its_user(docker: Docker) -> None:
    assert run(docker, "-w", "/new/dir", "-u", "app", "busybox", "stat", "-c", "%U", "/new/dir") == "root"


def test_pid_namespace_of_another_container(docker: Docker, name: str, sleeper: Callable[..., str]) -> None:
    sleeper("--name", name)
    assert "sleep 1000" in run(docker, "--pid", f"container:{name}", "busybox", "ps")


def test_many_at_once(docker: Docker) -> None:
    clients = [docker.background("run", "--rm", "busybox", "echo", str(n)) for n in range(12)]
    outputs = [client.communicate(timeout=60)[0].decode().strip() for client in clients]
    assert outputs == [str(n) for n in range(12)]
    assert [client.returncode for client in clients] == [0] * 12
