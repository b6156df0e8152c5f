"""The resolver's process ends when its directory goes, whatever it is doing then: nobody can find it any more."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import shutil
import socket
import time
from pathlib import Path

import pytest
from lightship.engine.networks.resolver.main import SOCKET_NAME
from lightship.engine.shim import protocol
from lightship.engine.supervisor.forkserver import ForkServer

LIMIT_S = 30


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    directory = tmp_path / "resolver"
    directory.mkdir()
    return directory


async def started(zygote: ForkServer, directory: Path) -> socket.socket:
    """The daemon's end of a new resolver's connection: as long as the process is there, it is open at the other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        await zygote.fork_resolver(directory, theirs.fileno())
    return ours


def remove(directory: Path) -> None:
    """Remove it also where something is made in it meanwhile."""
    while directory.exists():
        with contextlib.suppress(OSError):
            shutil.rmtree(directory)


async def add_container(connection: socket.socket) -> None:
    """Give it somebody to serve, and see that it does."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp, open("/proc/self/ns/net") as netns:
        for opened in (udp, tcp):
            opened.bind(("127.0.0.1", 0))
        tcp.listen()
        fds = {"udp": udp.fileno(), "tcp": tcp.fileno(), "netns": netns.fileno()}
        protocol.send(connection, {"seq": 0, "op": "add", "id": "one"}, fds)
    assert_answers(connection, None)
    protocol.send(connection, {"seq": 0, "op": "keep", "ids": ["one"]})
    assert_answers(connection, ["one"])


def assert_answers(connection: socket.socket, result: object) -> None:
    assert select.select([connection], [], [], LIMIT_S)[0], "the resolver does not answer"
    received = protocol.receive(connection)
    assert received is not None
    assert received[0] == {"seq": 0, "result": result}


def assert_ended(connection: socket.socket) -> None:
    with connection:
        assert select.select([connection], [], [], LIMIT_S)[0], "the resolver is still there"
        assert protocol.receive(connection) is None


def test_it_ends_with_its_directory(directory: Path) -> None:
    async def scenario() -> None:
        zygote = ForkServer()
        resolver = await started(zygote, directory)
        await add_container(resolver)
        remove(directory)
        assert_ended(resolver)
        await zygote.stop()

    asyncio.run(scenario())


def test_it_ends_where_the_directory_is_made_anew(directory: Path) -> None:
    """The resolver of the new one is another, which goes on."""

    async def scenario() -> None:
        zygote = ForkServer()
        first = await started(zygote, directory)
        await add_container(first)
        remove(directory)
        directory.mkdir()
        second = await started(zygote, directory)
        assert_ended(first)
        await add_container(second)
        remove(directory)
        assert_ended(second)
        await zygote.stop()

    asyncio.run(scenario())


def test_it_ends_where_another_takes_its_place(directory: Path) -> None:
    async def scenario() -> None:
        zygote = ForkServer()
        first = await started(zygote, directory)
        await add_container(first)
        second = await started(zygote, directory)
        assert_ended(first)
        await add_container(second)
        remove(directory)
        assert_ended(second)
        await zygote.stop()

    asyncio.run(scenario())


def test_it_ends_whatever_the_instant_its_directory_goes(directory: Path) -> None:
    async def scenario() -> None:
        zygote = ForkServer()
        for instant in range(24):
            directory.mkdir(exist_ok=True)
            resolver = await started(zygote, directory)
            until = time.monotonic() + instant / 1000
            while time.monotonic() < until and not (directory / SOCKET_NAME).exists():
                pass
            remove(directory)
            assert_ended(resolver)
        await zygote.stop()

    asyncio.run(scenario())
