"""`docker ps`: which containers each filter shows, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lightship.engine import errors
from lightship.engine.containers.container import Container
from lightship.engine.containers.record import ContainerRecord, State
from lightship.engine.containers.summary import command, port_summaries
from lightship.engine.filters import Filters
from lightship.openapi.types.config import Config
from lightship.openapi.types.containers import PortSummary
from lightship.openapi.types.hostconfig import HostConfig
from lightship.openapi.types.networks import PortBinding

With = Callable[[Callable[[Any], Any]], None]


def test_filters(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        one = await engine.create("one", labels={"a": "1", "b": "2"})
        await engine.create("two", labels={"a": "2"})
        await engine.create("three", host_config=HostConfig(binds=["/tmp:/inside"]))
        await engine.containers.start("two")
        await engine.containers.start("three")
        engine.shim.exit(9)
        await (await engine.containers.wait("three", ""))
        everything = ["three", "two", "one"]
        expected: list[tuple[dict[str, list[str]], list[str]]] = [
            ({}, everything),
            ({"name": ["t"]}, ["three", "two"]),
            ({"name": ["^/one$"]}, ["one"]),
            ({"name": ["^one$", "two"]}, ["two", "one"]),
            ({"name": ["("]}, []),
            ({"id": [one[:5]]}, ["one"]),
            ({"id": [one[:5]], "name": ["two"]}, []),
            ({"id": ["xyz"]}, []),
            ({"label": ["a"]}, ["two", "one"]),
            ({"label": ["a=1", "b"]}, ["one"]),
            ({"status": ["running"]}, ["two"]),
            ({"status": ["created", "exited"]}, ["three", "one"]),
            ({"exited": ["9"]}, ["three"]),
            ({"exited": ["0"]}, []),
            ({"before": ["three"]}, ["two", "one"]),
            ({"since": ["/one"]}, ["three", "two"]),
            ({"since": [one], "before": ["three"]}, ["two"]),
            ({"ancestor": ["busybox"]}, everything),
            ({"ancestor": ["other"]}, []),
            ({"volume": ["/inside"]}, ["three"]),
            ({"volume": ["/tmp"]}, ["three"]),
            ({"network": ["bridge"]}, everything),
            ({"network": ["eeee"]}, ["three", "two"]),
            ({"health": ["none"]}, everything),
            ({"health": ["healthy"]}, []),
            ({"is-task": ["false"]}, everything),
            ({"is-task": ["true"]}, []),
            ({"publish": ["80"]}, []),
        ]
        for filters, names in expected:
            assert await engine.listed(**filters) == names, filters

    with_engine(body)


def test_limit_and_all(with_engine: With) -> None:
    async def body(engine: Any) -> None:
        for name in ("one", "two", "three"):
            await engine.create(name)
        await engine.containers.start("one")

        async def names(**how: Any) -> list[str]:
            return [(found.names or [""])[0] for found in await engine.containers.list(Filters(), **how)]

        assert await names() == ["/one"]
        assert await names(limit=2) == ["/three", "/two"]
        assert await names(all=True, limit=1) == ["/three"]
        (running,) = await engine.containers.list(Filters(), size=True)
        assert (running.size_rw, running.size_root_fs) == (10, 10)
        assert (running.image, running.command, running.state) == ("busybox", "sh", "running")
        assert running.status.startswith("Up ")

    with_engine(body)


@pytest.mark.parametrize(
    ("filters", "kind", "text"),
    [
        ({"bla": ["x"]}, errors.InvalidArgument, "invalid filter 'bla'"),
        (
            {"status": ["bla"]},
            errors.InvalidArgument,
            "invalid filter 'status=bla': invalid value for state (bla): must be one of created, running, paused, "
            "restarting, removing, exited, dead",
        ),
        (
            {"health": ["bla"]},
            errors.InvalidArgument,
            "invalid filter 'health=bla': invalid value for health (bla): must be one of none, starting, healthy, "
            "unhealthy",
        ),
        (
            {"exited": ["x"]},
            errors.InvalidArgument,
            "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ({"is-task": ["x"]}, errors.InvalidArgument, "invalid filter 'is-task=[x]'"),
        ({"before": ["bla"]}, errors.NotFound, "No such container: bla"),
        ({"publish": ["a:1"]}, errors.Internal, "filter for 'publish' should not contain ':': a:1"),
        (
            {"expose": ["x"]},
            errors.Internal,
            'error while looking up for expose x: strconv.ParseUint: parsing "x": invalid syntax',
        ),
    ],
)
def test_bad_filters(with_engine: With, filters: dict[str, list[str]], kind: type[errors.Error], text: str) -> None:
    async def body(engine: Any) -> None:
        with pytest.raises(kind) as caught:
            await engine.listed(**filters)
        assert str(caught.value) == text

    with_engine(body)


def test_ports() -> None:
    ports = port_summaries(
        {
            "443/tcp": None,
            "80/tcp": [PortBinding(host_ip="0.0.0.0", host_port="8080"), PortBinding(host_ip="::", host_port="8080")],
            "53/udp": [PortBinding(host_ip="127.0.0.1", host_port="53")],
            "9/tcp": [],
        }
    )
    assert ports == [
        PortSummary(ip="127.0.0.1", private_port=53, public_port=53, type="udp"),
        PortSummary(ip="0.0.0.0", private_port=80, public_port=8080, type="tcp"),
        PortSummary(ip="::", private_port=80, public_port=8080, type="tcp"),
        PortSummary(private_port=9, type="tcp"),
        PortSummary(private_port=443, type="tcp"),
    ]


def test_command() -> None:
    assert command("sh", []) == "sh"
    assert command("sh", ["-c", "echo hi", ""]) == "sh -c 'echo hi' "


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        (State(), "created", "Created"),
        (State(exit_code=127, error="no"), "created", "Created"),
        (State(running=True, started_ns=1), "running", "Up 5"),
        (State(running=True, paused=True, started_ns=1), "paused", "(Paused)"),
        (State(running=True, restarting=True, exit_code=3, finished_ns=1), "restarting", "Restarting (3) 5"),
        (State(started_ns=1, finished_ns=1, exit_code=2), "exited", "Exited (2) 5"),
        (State(started_ns=1), "exited", ""),
        (State(dead=True, started_ns=1), "dead", "Dead"),
    ],
)
def test_status(state: State, status: str, text: str) -> None:
    config, host_config = Config(), HostConfig()
    record = ContainerRecord(
        id="a" * 64, name="/a1", created_ns=1, path="sh", args=[], config=config, host_config=host_config, state=state
    )
    container = Container(record)
    assert container.status() == status
    assert text in container.status_text()
    container.removing = True
    if not state.running:
        assert (container.status(), container.status_text()) == ("removing", "Removal In Progress")
