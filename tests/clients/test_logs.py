"""`docker logs`: every flag, following, rotation, and the framed stream."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import Engine
from harness.http import Api, frames


def test_both_streams(docker: Docker, name: str) -> None:
    docker("run", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2")
    result = docker("logs", name)
    assert (result.out, result.err) == ("out\n", "err\n")


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        ([], ["1", "2", "3", "4", "5"]),
        (["--tail", "2"], ["4", "5"]),
        (["-n", "0"], []),
        (["--tail", "all"], ["1", "2", "3", "4", "5"]),
        (["--tail", "99"], ["1", "2", "3", "4", "5"]),
    ],
)
def test_p40_tail(docker: Docker, name: str, flags: list[str], lines: list[str]) -> None:
    docker.ok("run", "--name", name, "busybox", "seq", "5")
    assert docker.ok("logs", *flags, name).split() == lines


def test_p40_timestamps(docker: Docker, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "echo", "line")
    stamp, text = docker.ok("logs", "-t", name).split(" ", 1)
    assert text == "line" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp)


def test_p40_since_and_until(docker: Docker, api: Api, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "sh", "-c", "echo one; sleep 0.3; echo two; sleep 0.3; echo three")
    stamps = [line.split(" ")[0] for line in docker.ok("logs", "-t", name).splitlines()]
    assert docker.ok("logs", "--since", stamps[1], name).split() == ["two", "three"]
    assert docker.ok("logs", "--until", stamps[1], name).split() == ["one", "two"]
    assert docker.ok("logs", "--since", stamps[1], "--until", stamps[1], name).split() == ["two"]
    assert docker.ok("logs", "--since", "1h", "--tail", "1", name) == "three"
    moment = datetime.datetime.fromisoformat(stamps[2][:26] + "+00:00").timestamp() - 0.1
    answer = api.get(f"/containers/{name}/logs?stdout=1&since={moment:.9f}")
    assert frames(answer.body) == [(1, b"three\n")]


def test_p41_follow_ends_with_the_container_and_has_everything(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "echo early; sleep 0.5; printf 'no newline'")
    result = docker("logs", "-f", name)
    assert result.out == "early\nno newline"


def test_p41_no_gap_between_history_and_following(docker: Docker, name: str) -> None:
    docker.ok(
        "run", "-d", "--name", name, "busybox", "sh", "-c", "n=0; while [ $n -lt 3000 ]; do echo $n; n=$((n+1)); done"
    )
    assert docker.ok("logs", "-f", name).split() == [str(n) for n in range(3000)]


def test_follow_with_tail(docker: Docker, name: str) -> None:
    docker.ok("run", "-d", "-i", "--name", name, "busybox", "sh", "-c", "seq 5; read go; echo after")
    while len(docker.ok("logs", name).split()) < 5:
        time.sleep(0.02)
    client = docker.background("logs", "-f", "--tail", "1", name)
    assert client.stdout is not None and client.stdout.readline() == b"5\n"
    docker("attach", name, stdin="go\n")
    assert client.communicate(timeout=60)[0] == b"after\n"


def test_p26_frames_without_and_raw_with_a_terminal(docker: Docker, api: Api, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "echo", "x")
    answer = api.get(f"/containers/{name}/logs?stdout=1&stderr=1")
    assert frames(answer.body) == [(1, b"x\n")]
    assert answer.headers["content-type"] == "application/vnd.docker.multiplexed-stream"
    docker.ok("run", "-t", "--name", f"{name}-t", "busybox", "echo", "x")
    answer = api.get(f"/containers/{name}-t/logs?stdout=1&stderr=1")
    assert answer.body == b"x\r\n"
    assert answer.headers["content-type"] == "application/vnd.docker.raw-stream"


def test_one_stream_only_and_none(docker: Docker, api: Api, name: str) -> None:
    docker("run", "--name", name, "busybox", "sh", "-c", "echo out; echo err >&2")
    assert frames(api.get(f"/containers/{name}/logs?stderr=1").body) == [(2, b"err\n")]
    answer = api.get(f"/containers/{name}/logs")
    assert (answer.status, answer.message) == (400, "Bad parameters: you must choose at least one stream")


def test_details(docker: Docker, name: str) -> None:
    docker.ok(
        "run",
        "--name",
        name,
        "--log-opt",
        "labels=team",
        "-l",
        "team=red",
        "--log-opt",
        "env=E",
        "-e",
        "E=1",
        "busybox",
        "echo",
        "x",
    )
    assert docker.ok("logs", "--details", name) == "E=1,team=red x"


def test_the_file_is_json_lines(docker: Docker, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "printf", 'a"b\\\\c\nlast')
    path = docker.ok("inspect", "-f", "{{.LogPath}}", name)
    records = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert [(r["log"], r["stream"]) for r in records] == [('a"b\\c\n', "stdout"), ("last", "stdout")]
    assert records[0]["time"].endswith("Z")
    container = docker.ok("inspect", "-f", "{{.Id}}", name)
    assert path.endswith(f"containers/{container}/{container}-json.log")


def test_lines_of_any_length_and_bytes(docker: Docker, name: str) -> None:
    script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf '\\377\\001\\t\\r\\n'; printf 'ü€😀\\n'"
    docker.ok("run", "--name", name, "busybox", "sh", "-c", script)
    lines = docker.ok("logs", name).split("\n")
    assert lines[0] == "x" * 100000
    assert lines[-1] == "ü€😀"


def test_rotation(docker: Docker, name: str) -> None:
    docker.ok("run", "--name", name, "--log-opt", "max-size=10k", "--log-opt", "max-file=3", "busybox", "seq", "2000")
    path = Path(docker.ok("inspect", "-f", "{{.LogPath}}", name))
    assert sorted(f.name for f in path.parent.glob("*-json.log*")) == [path.name, f"{path.name}.1", f"{path.name}.2"]
    lines = docker.ok("logs", name).split()
    assert lines[-1] == "2000"
    assert lines == [str(n) for n in range(int(lines[0]), 2001)]
    assert docker.ok("logs", "--tail", "300", name).split()[0] == "1701"


def test_driver_none(docker: Docker, api: Api, name: str) -> None:
    assert docker("run", "--name", name, "--log-driver", "none", "busybox", "echo", "shown").out == "shown\n"
    answer = api.get(f"/containers/{name}/logs?stdout=1")
    assert answer.status == 501
    assert answer.message == "configured logging driver does not support reading"


def test_unknown_driver_and_option(docker: Docker) -> None:
    message = docker.fails("run", "--log-driver", "nonsense", "busybox", code=125)
    assert 'error looking up logging plugin nonsense: plugin "nonsense" not found' in message
    message = docker.fails("run", "--log-opt", "nonsense=1", "busybox", code=125)
    assert "unknown log opt 'nonsense' for json-file log driver" in message


def test_logs_of_a_running_container_and_of_none(docker: Docker, sleeper: Callable[..., str]) -> None:
    assert docker.ok("logs", sleeper()) == ""
    assert docker.fails("logs", "absent") == "Error response from daemon: No such container: absent"


def test_p67_the_driver_is_called_json_file(docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "busybox")
    assert docker.ok("inspect", "-f", "{{.HostConfig.LogConfig.Type}}", name) == "json-file"


def test_logs_are_appended_over_restarts(docker: Docker, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "echo", "run")
    docker.ok("start", "-a", name)
    assert docker.ok("logs", name).split() == ["run", "run"]


def test_a_removed_containers_log_is_gone(engine: Engine, name: str) -> None:
    engine.docker.ok("run", "--name", name, "busybox", "echo", "x")
    path = Path(engine.docker.ok("inspect", "-f", "{{.LogPath}}", name))
    assert path.exists()
    engine.docker.ok("rm", name)
    assert not path.parent.exists()
