"""A session over a real socket: files of a context, in small and large pieces, and how calls end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from harness.sessions import in_session
from lightship.engine.build.buildkit.client import SessionClient
from lightship.engine.build.buildkit.protocol.session_pb2 import (
    BytesMessage,
    CredentialsRequest,
    CredentialsResponse,
    GetSecretRequest,
    GetSecretResponse,
    Packet,
    Stat,
)
from lightship.engine.build.buildkit.transport import unary
from lightship.engine.build.graph import LocalSource
from lightship.engine.build.progress import Told
from lightship.engine.errors import Error, InvalidArgument, NotFound, Unavailable

FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"
FILE_SEND = "/moby.filesync.v1.FileSend/DiffCopy"
Serve = Callable[[Stream[Packet, Packet]], Awaitable[None]]
SOURCE = LocalSource("context", "s1", include=("a b", "ü"), name="context")


def stat(path: str, data: bytes) -> Stat:
    return Stat(path=path, mode=0o644, size=len(data), modified_ns=10**18)


def sender(files: dict[str, bytes], *, piece: int) -> Serve:
    """A client's side of fsutil's protocol."""

    async def send(stream: Stream[Packet, Packet]) -> None:
        names = sorted(files)
        for name in names:
            await stream.send_message(Packet(type=Packet.STAT, stat=stat(name, files[name])))
        await stream.send_message(Packet(type=Packet.STAT))
        while (packet := await stream.recv_message()) is not None and packet.type == Packet.REQUEST:
            data = files[names[packet.id]]
            for start in range(0, len(data), piece):
                await stream.send_message(Packet(type=Packet.DATA, id=packet.id, data=data[start : start + piece]))
            await stream.send_message(Packet(type=Packet.DATA, id=packet.id))
        await stream.send_message(Packet(type=Packet.FINISH))

    return send


def files_of(serve: Serve) -> dict[str, Handler]:
    return {FILE_SYNC: Handler(serve, Cardinality.STREAM_STREAM, Packet, Packet)}


def sync(serve: Serve, directory: Path) -> list[Told]:
    told: list[Told] = []
    in_session(files_of(serve), lambda client: client.sync(SOURCE, directory, told.append))
    return told


@pytest.mark.parametrize("piece", [1, 1000, 32 * 1024, 3 << 20])
def test_files_come_whole(tmp_path: Path, piece: int) -> None:
    files = {"small": b"x" * 500, "empty": b"", "large": bytes(range(256)) * (40 * piece // 256 + 1)}
    sync(sender(files, piece=piece), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_many_files_and_then_few(tmp_path: Path) -> None:
    files = {f"f{number:05}": str(number).encode() for number in range(3000)}
    told = sync(sender(files, piece=4096), tmp_path)
    assert len(list(tmp_path.iterdir())) == 3000
    assert told[-1].completed_ns is not None
    files["f00007"] = b"changed"
    del files["f00008"]
    told = sync(sender(files, piece=4096), tmp_path)
    assert (tmp_path / "f00007").read_bytes() == b"changed"
    assert not (tmp_path / "f00008").exists()


def test_patterns_are_told(tmp_path: Path) -> None:
    seen: dict[str, list[str]] = {}

    async def look(stream: Stream[Packet, Packet]) -> None:
        for key in ("include-patterns", "include-patterns-encoded", "dir-name"):
            seen[key] = [str(value) for value in (stream.metadata or {}).getall(key)]
        await sender({}, piece=1)(stream)

    sync(look, tmp_path)
    assert seen == {
        "include-patterns": ["a%20b", "%C3%BC"],
        "include-patterns-encoded": ["1"],
        "dir-name": ["context"],
    }


async def _fail(stream: Stream[Packet, Packet]) -> None:
    await stream.send_message(Packet(type=Packet.STAT, stat=stat("a", b"1")))
    raise GRPCError(Status.UNKNOWN, "the disk is on fire")


async def _tell_of_an_error(stream: Stream[Packet, Packet]) -> None:
    await stream.send_message(Packet(type=Packet.ERROR, data=b"permission denied"))
    await stream.recv_message()


async def _stop(stream: Stream[Packet, Packet]) -> None:
    await stream.send_message(Packet(type=Packet.STAT, stat=stat("a", b"1")))


async def _send_unasked(stream: Stream[Packet, Packet]) -> None:
    await stream.send_message(Packet(type=Packet.DATA, id=7, data=b"x"))
    await stream.recv_message()


@pytest.mark.parametrize(
    ("serve", "error", "message"),
    [
        (_fail, Error, "the disk is on fire"),
        (_tell_of_an_error, InvalidArgument, "error from sender: permission denied"),
        (_stop, InvalidArgument, "stopped in the middle"),
        (_send_unasked, InvalidArgument, "nobody has asked"),
    ],
)
def test_what_goes_wrong_is_told(tmp_path: Path, serve: Serve, error: type[Error], message: str) -> None:
    with pytest.raises(error, match=message):
        sync(serve, tmp_path)


def test_a_session_that_ends_is_unavailable(tmp_path: Path) -> None:
    async def hang_up(stream: Stream[Packet, Packet]) -> None:
        stream._stream._transport.abort()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    with pytest.raises(Unavailable, match="session has ended"):
        sync(hang_up, tmp_path)


def test_what_the_session_does_not_offer(tmp_path: Path) -> None:
    async def scenario(client: SessionClient) -> None:
        assert (await client.credentials("docker.io")).is_anonymous
        with pytest.raises(NotFound, match="no local sources"):
            await client.sync(SOURCE, tmp_path, lambda told: None)
        with pytest.raises(NotFound, match="secret x: not found"):
            await client.secret("x")
        with pytest.raises(NotFound, match='no SSH key "default" forwarded'):
            await client.ssh_agent("default", tmp_path / "socket")
        with pytest.raises(NotFound):
            await client.send_directory(tmp_path, {})

    in_session({}, scenario)


def test_credentials_and_secrets() -> None:
    async def credentials(request: CredentialsRequest, metadata: object) -> CredentialsResponse:
        if request.host == "registry-1.docker.io":
            return CredentialsResponse(secret="token")
        return CredentialsResponse(username="alice", secret=f"of {request.host}")

    async def secret(request: GetSecretRequest, metadata: object) -> GetSecretResponse:
        if request.id != "one":
            raise GRPCError(Status.NOT_FOUND, "no")
        return GetSecretResponse(data=b"\0binary")

    async def scenario(client: SessionClient) -> None:
        assert (await client.credentials("docker.io")).identity_token == "token"
        found = await client.credentials("example.com:5000")
        assert (found.username, found.password) == ("alice", "of example.com:5000")
        assert await client.secret("one") == b"\0binary"
        with pytest.raises(NotFound, match="secret two: not found"):
            await client.secret("two")

    handlers = {
        "/moby.filesync.v1.Auth/Credentials": unary(credentials, CredentialsRequest, CredentialsResponse),
        "/moby.buildkit.secrets.v1.Secrets/GetSecret": unary(secret, GetSecretRequest, GetSecretResponse),
    }
    in_session(handlers, scenario)


def test_a_file_is_sent() -> None:
    received = bytearray()

    async def take(stream: Stream[BytesMessage, BytesMessage]) -> None:
        async for message in stream:
            received.extend(message.data)

    async def scenario(client: SessionClient) -> None:
        async def data():
            for _ in range(3):
                yield b"x" * 1_500_000

        await client.send_stream(data(), {})

    in_session({FILE_SEND: Handler(take, Cardinality.STREAM_STREAM, BytesMessage, BytesMessage)}, scenario)
    assert received == b"x" * 4_500_000


def test_a_file_that_is_not_wanted() -> None:
    async def refuse(stream: Stream[BytesMessage, BytesMessage]) -> None:
        raise GRPCError(Status.ALREADY_EXISTS, "target already exists")

    async def scenario(client: SessionClient) -> None:
        async def data():
            while True:
                yield b"x" * 1_000_000

        await client.send_stream(data(), {})

    with pytest.raises(Error, match="target already exists"):
        in_session({FILE_SEND: Handler(refuse, Cardinality.STREAM_STREAM, BytesMessage, BytesMessage)}, scenario)
