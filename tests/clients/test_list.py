"""`docker ps`: filters, formats and the list document."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from harness.docker import Docker
from harness.http import Api

Sleeper = Callable[..., str]


@pytest.fixture
def fleet(docker: Docker, sleeper: Sleeper) -> dict[str, str]:
    """Containers in each state, with labels, volumes and an exit code."""
    fleet = {
        "running": sleeper("--name", "f-running", "-l", "tier=web", "-l", "x=1", "-p", "8080"),
        "paused": sleeper("--name", "f-paused"),
    }
    docker.ok("pause", "f-paused")
    fleet["created"] = docker.ok("create", "--name", "f-created", "-l", "tier=db", "-v", "fleetvol:/v", "rich:1")
    docker("run", "--name", "f-exited", "-l", "tier=web", "busybox", "sh", "-c", "exit 3")
    fleet["exited"] = docker.ok("inspect", "-f", "{{.Id}}", "f-exited")
    return fleet


def names(docker: Docker, *filters: str) -> list[str]:
    flags = [part for text in filters for part in ("--filter", text)]
    return sorted(docker.ok("ps", "-a", "--format", "{{.Names}}", *flags).split())


@pytest.mark.usefixtures("fleet")
def test_running_ones_unless_all(docker: Docker) -> None:
    assert sorted(docker.ok("ps", "--format", "{{.Names}}").split()) == ["f-paused", "f-running"]
    assert names(docker) == ["f-created", "f-exited", "f-paused", "f-running"]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["status=running"], ["f-running"]),
        (["status=paused"], ["f-paused"]),
        (["status=created"], ["f-created"]),
        (["status=exited"], ["f-exited"]),
        (["status=exited", "status=created"], ["f-created", "f-exited"]),
        (["exited=3"], ["f-exited"]),
        (["exited=0"], []),
        (["label=tier"], ["f-created", "f-exited", "f-running"]),
        (["label=tier=web"], ["f-exited", "f-running"]),
        (["label=tier=web", "label=x=1"], ["f-running"]),
        (["name=f-e"], ["f-exited"]),
        (["name=^f-running$"], ["f-running"]),
        (["name=^/f-p"], ["f-paused"]),
        (["name=absent"], []),
        (["ancestor=rich:1"], ["f-created"]),
        (["ancestor=busybox"], ["f-exited", "f-paused", "f-running"]),
        (["ancestor=absent"], []),
        (["before=f-created"], ["f-paused", "f-running"]),
        (["since=f-created"], ["f-exited"]),
        (["volume=fleetvol"], ["f-created"]),
        (["volume=/v"], ["f-created"]),
        (["volume=absent"], []),
        (["network=bridge"], ["f-created", "f-exited", "f-paused", "f-running"]),
        (["network=host"], []),
        (["health=none"], ["f-created", "f-exited", "f-paused", "f-running"]),
        (["health=healthy"], []),
        (["publish=8080"], []),
        (["expose=8080"], ["f-running"]),
        (["expose=8080/tcp"], ["f-running"]),
        (["is-task=false"], ["f-created", "f-exited", "f-paused", "f-running"]),
        (["is-task=true"], []),
    ],
)
@pytest.mark.usefixtures("fleet")
def test_p14_filters(docker: Docker, filters: list[str], expected: list[str]) -> None:
    assert names(docker, *filters) == expected


def test_filter_by_id_and_publish(docker: Docker, api: Api, fleet: dict[str, str]) -> None:
    assert names(docker, f"id={fleet['exited'][:12]}") == ["f-exited"]
    port = api.json(f"/containers/{fleet['running']}/json")["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]
    assert names(docker, f"publish={port}") in (
        ["f-running"],
        [],
    )  # dockerd compares with the container's published port


@pytest.mark.parametrize(
    ("filters", "text"),
    [
        ("nonsense=1", "invalid filter 'nonsense'"),
        ("status=nonsense", "invalid filter 'status=nonsense'"),
        ("exited=x", 'strconv.Atoi: parsing "x": invalid syntax'),
        ("before=absent", "No such container: absent"),
        ("health=nonsense", "nonsense"),
    ],
)
def test_bad_filters(docker: Docker, filters: str, text: str) -> None:
    assert text in docker.fails("ps", "--filter", filters)


def test_p13_both_wire_forms_of_filters(api: Api, fleet: dict[str, str]) -> None:
    for document in ('{"status":["exited"]}', '{"status":{"exited":true}}'):
        listed = api.json(f"/containers/json?all=1&filters={document}".replace('"', "%22"))
        assert [c["Id"] for c in listed] == [fleet["exited"]]


def test_p15_booleans_and_limit(api: Api, fleet: dict[str, str]) -> None:
    for value in ("1", "true", "True"):
        assert len(api.json(f"/containers/json?all={value}")) == 4
    for value in ("0", "false", "False"):
        assert len(api.json(f"/containers/json?all={value}")) == 2
    assert len(api.json("/containers/json?all=1&limit=0")) == 4
    assert [c["Id"] for c in api.json("/containers/json?limit=1")] == [fleet["exited"]]


def test_last_and_latest(docker: Docker, fleet: dict[str, str]) -> None:
    assert docker.ok("ps", "-lq", "--no-trunc") == fleet["exited"]
    assert docker.ok("ps", "-n", "2", "--format", "{{.Names}}").split() == ["f-exited", "f-created"]


@pytest.mark.usefixtures("fleet")
def test_columns(docker: Docker) -> None:
    header, *rows = docker.ok("ps", "-a").splitlines()
    assert header.split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    by_name = {row.split()[-1]: row for row in rows}
    assert "Up " in by_name["f-running"] and "->8080/tcp" in by_name["f-running"]
    assert "(Paused)" in by_name["f-paused"]
    assert "Exited (3)" in by_name["f-exited"]
    assert "Created" in by_name["f-created"]


@pytest.mark.usefixtures("fleet")
def test_formats(docker: Docker) -> None:
    row = docker.ok(
        "ps",
        "-a",
        "--filter",
        "name=f-running",
        "--format",
        '{{.Image}}|{{.Command}}|{{.State}}|{{.Label "tier"}}|{{.Networks}}',
    )
    assert row == 'busybox|"sleep 1000"|running|web|bridge'
    document = json.loads(docker.ok("ps", "-a", "--filter", "name=f-created", "--format", "json"))
    assert "fleetvol" in document["Mounts"]
    assert (str(len(document["Mounts"].split(","))), document["State"], document["LocalVolumes"]) == (
        "2",
        "created",
        "2",
    )


def test_p47_p49_p60_document(api: Api, fleet: dict[str, str]) -> None:
    listed = {c["Names"][0]: c for c in api.json("/containers/json?all=1")}
    running = listed["/f-running"]
    assert running["Id"] == fleet["running"]
    assert isinstance(running["Created"], int) and abs(running["Created"] - time.time()) < 120
    assert running["ImageID"].startswith("sha256:") and running["Image"] == "busybox"
    assert running["State"] == "running" and running["Status"].startswith("Up ")
    assert running["Labels"] == {"tier": "web", "x": "1"}
    assert {(p["PrivatePort"], p["Type"]) for p in running["Ports"]} == {(8080, "tcp")}
    assert all(p["PublicPort"] for p in running["Ports"])
    assert running["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].startswith("172.17.")
    assert running["HostConfig"] == {"NetworkMode": "bridge"}
    created = listed["/f-created"]
    assert created["Mounts"][0]["Name"] and {m["Destination"] for m in created["Mounts"]} == {"/data", "/v"}
    assert created["State"] == "created"


def test_size(docker: Docker, api: Api, name: str) -> None:
    docker.ok("run", "--name", name, "busybox", "sh", "-c", "head -c 100000 /dev/zero >/file")
    listed = api.json("/containers/json?all=1&size=1")[0]
    assert 100_000 <= listed["SizeRw"] < 120_000
    assert listed["SizeRootFs"] > listed["SizeRw"]
    assert "SizeRw" not in api.json("/containers/json?all=1")[0]
    assert "SIZE" in docker.ok("ps", "-as").splitlines()[0]


def test_p12_empty_collections_are_not_null(api: Api, docker: Docker, name: str) -> None:
    docker.ok("create", "--name", name, "--network", "none", "busybox")
    listed = api.json("/containers/json?all=1")[0]
    assert (listed["Ports"], listed["Labels"], listed["Mounts"]) == ([], {}, [])
    assert api.json("/containers/json") == []
