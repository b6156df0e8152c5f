"""`docker events`: what each command emits, filters, since and until, the live stream."""

from __future__ import annotations

import itertools
import json
import re
import select
import time
from collections.abc import Callable
from typing import Any

from harness.docker import Docker
from harness.http import Api, read_head
from harness.waiting import wait_for

Sleeper = Callable[..., str]


def events(api: Api, since: float, **filters: list[str]) -> list[dict[str, Any]]:
    query = json.dumps(filters).replace('"', "%22").replace(" ", "")
    answer = api.get(f"/v1.44/events?since={since:.9f}&until={time.time():.9f}&filters={query}")
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


def actions(api: Api, since: float, kind: str = "container") -> list[str]:
    return [event["Action"] for event in events(api, since, type=[kind])]


def test_run_and_rm(docker: Docker, api: Api, name: str) -> None:
    since = time.time()
    docker("run", "--rm", "--name", name, "-l", "a=b", "busybox", "sh", "-c", "exit 2")
    assert actions(api, since) == ["create", "attach", "start", "die", "destroy"]
    die = events(api, since, event=["die"])[0]
    assert die["Type"] == "container" and die["scope"] == "local"
    attributes = die["Actor"]["Attributes"]
    assert (
        attributes["exitCode"] == "2"
        and attributes["name"] == name
        and attributes["image"] == "busybox"
        and attributes["a"] == "b"
    )
    assert attributes["execDuration"].isdigit()
    assert abs(die["time"] - time.time()) < 60 and die["timeNano"] // 10**9 == die["time"]
    assert (die["status"], die["id"], die["from"]) == ("die", die["Actor"]["ID"], "busybox")  # P6: until 1.52


def test_p79_stop_kill_restart_pause_rename(docker: Docker, api: Api, name: str, sleeper: Sleeper) -> None:
    container = sleeper("--name", name)
    since = time.time()
    docker.ok("pause", name)
    docker.ok("unpause", name)
    docker.ok("rename", name, f"{name}-x")
    docker.ok("restart", container)
    seen = actions(api, since)
    assert seen[:4] == ["pause", "unpause", "rename", "kill"]
    assert sorted(seen[4:]) == ["die", "restart", "start", "stop"] and seen.index("start") > seen.index("die")
    kill = events(api, since, event=["kill"])[0]
    assert kill["Actor"]["Attributes"]["signal"] == "15"
    assert events(api, since, event=["rename"])[0]["Actor"]["Attributes"]["oldName"] == f"/{name}"


def test_p72_rm_f(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    since = time.time()
    docker.ok("rm", "-f", container)
    assert actions(api, since) == ["kill", "die", "destroy"]


def test_p79_exec(docker: Docker, api: Api, sleeper: Sleeper) -> None:
    container = sleeper()
    since = time.time()
    docker("exec", container, "sh", "-c", "exit 3")
    seen = events(api, since, container=[container])
    assert [event["Action"] for event in seen] == ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die"]
    assert seen[2]["Actor"]["Attributes"]["exitCode"] == "3"
    assert len(seen[2]["Actor"]["Attributes"]["execID"]) == 64


def test_images(docker: Docker, api: Api, busybox_layer: bytes) -> None:
    since = time.time()
    docker.ok("import", "-", "evented:1", stdin=busybox_layer)
    docker.ok("tag", "evented:1", "evented:2")
    docker.ok("rmi", "evented:1")
    docker.ok("rmi", "evented:2")
    seen = actions(api, since, "image")
    assert {"import", "tag", "untag", "delete"} == set(seen) and seen.count("untag") == 2 and seen[-1] == "delete"


def test_volumes_and_networks(docker: Docker, api: Api) -> None:
    since = time.time()
    docker.ok("volume", "create", "evented")
    docker.ok("run", "--rm", "-v", "evented:/v", "busybox", "true")
    docker.ok("volume", "rm", "evented")
    assert actions(api, since, "volume") == ["create", "mount", "unmount", "destroy"]
    assert actions(api, since, "network") == ["connect", "disconnect"]


def test_p80_prune(docker: Docker, api: Api) -> None:
    docker.ok("create", "busybox")
    since = time.time()
    docker.ok("container", "prune", "-f")
    assert actions(api, since) == ["destroy", "prune"]
    assert events(api, since, event=["prune"])[0]["Actor"]["Attributes"]["reclaimed"].isdigit()


def test_filters(docker: Docker, api: Api, name: str) -> None:
    since = time.time()
    docker.ok("create", "--name", name, "-l", "x=1", "busybox")
    docker.ok("create", "--name", f"second-{name}", "rich:1")
    docker.ok("volume", "create", "vol")

    def names(**filters: list[str]) -> list[str]:
        return [e["Actor"]["Attributes"].get("name", e["Actor"]["ID"]) for e in events(api, since, **filters)]

    assert names(container=[name]) == [name]
    assert names(label=["x=1"]) == [name]
    assert names(image=["rich:1"]) == [f"second-{name}"]
    assert "vol" in names(type=["volume"]) and name not in names(type=["volume"])
    assert names(event=["create"], type=["container"]) == [name, f"second-{name}"]
    assert names(event=["destroy"]) == []


def test_p17_live_stream_has_headers_at_once(docker: Docker, api: Api, name: str) -> None:
    connection = api.dial("GET", "/events")
    status, headers = read_head(connection)
    assert status == "HTTP/1.1 200 OK" and headers["transfer-encoding"] == "chunked"  # P18
    docker.ok("create", "--name", name, "busybox")
    data = b""
    while b'"Action":"create"' not in data:
        data += connection.recv(65536)
    connection.close()


def test_the_cli_prints_them(docker: Docker, name: str) -> None:
    client = docker.background(
        "events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}", "--filter", "event=create"
    )
    assert client.stdout is not None
    numbers = itertools.count(1)

    def is_told() -> bool:
        """Nothing tells when the client listens."""
        docker.ok("create", "--name", f"{name}-{next(numbers)}", "busybox")
        return bool(select.select([client.stdout], [], [], 0.5)[0])

    wait_for(is_told)
    assert re.fullmatch(rf"container create {name}-\d+\n", client.stdout.readline().decode())
    client.kill()
    client.communicate()


def test_p20_until_in_the_past_ends(api: Api) -> None:
    until = int(time.time()) - 10
    answer = api.get(f"/events?until={until}")
    assert answer.status == 200
    assert all(json.loads(line)["time"] <= until for line in answer.body.splitlines())


def test_until_in_the_future_ends_then(docker: Docker, name: str) -> None:
    until = int(time.time()) + 2
    docker.ok("events", "--until", str(until))
    assert time.time() >= until


def test_p82_oom(docker: Docker, api: Api, name: str) -> None:
    since = time.time()
    docker(
        "run",
        "--name",
        name,
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "sh",
        "-c",
        "head -c 100m /dev/zero | tail",
    )
    seen = actions(api, since)
    assert "oom" in seen and "die" in seen


def test_bad_parameters(api: Api) -> None:
    answer = api.get("/events?since=5&until=2")
    assert answer.status == 400
    answer = api.get("/events?since=nonsense")
    assert answer.status in (400, 500) and "nonsense" in answer.message
    answer = api.get('/events?filters={"type":5}'.replace('"', "%22"))
    assert answer.status == 400


def test_pruning_the_build_cache_is_told(docker: Docker, api: Api) -> None:
    began = time.time()
    assert api.post("/build/prune").status == 200
    shown = docker.ok("events", "--since", f"{began:.6f}", "--until", f"{time.time():.6f}", "--filter", "type=builder")
    assert "builder prune" in shown and "reclaimed=" in shown
