"""BuildKit's protocol spoken by hand: the doors to it, and clients that misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from grpclib.client import Channel, StreamStreamMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from harness.engine import Engine
from lightship.engine.build.buildkit.protocol import control_pb2 as pb
from lightship.engine.build.buildkit.protocol.session_pb2 import Packet
from lightship.engine.build.buildkit.transport import Calls, Services

T = TypeVar("T")
CONTROL = "/moby.buildkit.v1.Control"
FILE_SYNC = "/moby.filesync.v1.FileSync/DiffCopy"


def connect(engine: Engine) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(30)
    connected.connect(engine.host.removeprefix("unix://"))
    return connected


def upgraded(engine: Engine, path: str, **headers: str) -> socket.socket:
    """Open a connection and have it taken out of HTTP/1.1."""
    connected = connect(engine)
    named = {"Host": "d", "Connection": "Upgrade", "Upgrade": "h2c"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    connected.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += connected.recv(1)
    assert answer.startswith(b"HTTP/1.1 101 "), answer
    assert b"upgrade: h2c" in answer.lower()
    return connected


def with_calls(engine: Engine, scenario: Callable[[Channel], Awaitable[T]]) -> T:
    """Run a scenario against `/grpc`."""

    async def run() -> T:
        connected = upgraded(engine, "/grpc")
        connected.setblocking(False)
        calls = Calls(connected, b"")
        running = asyncio.create_task(calls.run())
        try:
            return await scenario(calls)
        finally:
            running.cancel()
            await asyncio.wait([running])

    return asyncio.run(run())


async def workers(calls: Channel) -> pb.ListWorkersResponse:
    call = UnaryUnaryMethod(calls, f"{CONTROL}/ListWorkers", pb.ListWorkersRequest, pb.ListWorkersResponse)
    return await call(pb.ListWorkersRequest())


def solve(calls: Channel) -> UnaryUnaryMethod[pb.SolveRequest, pb.SolveResponse]:
    return UnaryUnaryMethod(calls, f"{CONTROL}/Solve", pb.SolveRequest, pb.SolveResponse)


def request(ref: str, session: str) -> pb.SolveRequest:
    options = {"filename": "Dockerfile"}
    return pb.SolveRequest(ref=ref, session=session, frontend="dockerfile.v0", frontend_options=options)


@pytest.mark.parametrize("path", ["/grpc", "/session"])
@pytest.mark.parametrize(
    "garbage", [b"\0" * 100, b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 64]
)
def test_garbage_ends_the_connection_alone(engine: Engine, name: str, path: str, garbage: bytes) -> None:
    with upgraded(engine, path, X_Docker_Expose_Session_Uuid=name) as connected:
        try:
            connected.sendall(garbage)
            connected.shutdown(socket.SHUT_WR)
            while connected.recv(65536):
                pass
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert engine.api.get("/_ping").status == 200


@pytest.mark.parametrize(("path", "status"), [("/session", 400), ("/grpc", 500)])
def test_an_upgrade_must_be_asked_for(engine: Engine, path: str, status: int) -> None:
    answer = engine.api.post(path)
    assert (answer.status, answer.message) == (status, "no upgrade proto in request")
    answer = engine.api.post(path, headers={"Upgrade": "tcp", "Connection": "Upgrade"})
    assert (answer.status, answer.message) == (status, "protocol tcp not supported")


def test_workers_and_health(engine: Engine) -> None:
    async def scenario(calls: Channel) -> None:
        found = await workers(calls)
        assert len(found.records) == 1
        assert "org.mobyproject.buildkit.worker.moby.host-gateway-ip" in found.records[0].labels
        assert found.records[0].platforms[0].os == "linux"
        info = UnaryUnaryMethod(calls, f"{CONTROL}/Info", pb.InfoRequest, pb.InfoResponse)
        assert (await info(pb.InfoRequest())).buildkit_version.version

    with_calls(engine, scenario)


def test_unknown_methods_are_not_implemented(engine: Engine) -> None:
    async def scenario(calls: Channel) -> list[tuple[Status, str | None]]:
        answers = []
        for path in ("/no.such.Service/Method", f"{CONTROL}/Nothing"):
            with pytest.raises(GRPCError) as failure:
                await UnaryUnaryMethod(calls, path, pb.InfoRequest, pb.InfoResponse)(pb.InfoRequest())
            answers.append((failure.value.status, failure.value.message))
        return answers

    assert with_calls(engine, scenario) == [
        (Status.UNIMPLEMENTED, "unknown service no.such.Service"),
        (Status.UNIMPLEMENTED, "unknown method Nothing for service moby.buildkit.v1.Control"),
    ]


def test_a_build_without_its_session(engine: Engine, name: str) -> None:
    async def scenario(calls: Channel) -> str | None:
        with pytest.raises(GRPCError) as failure:
            await solve(calls)(request(name, f"{name}-session"))
        return failure.value.message

    message = with_calls(engine, scenario)
    assert message is not None
    assert f"no active session for {name}-session: context deadline exceeded" in message


def test_a_status_of_no_build(engine: Engine, name: str) -> None:
    async def scenario(calls: Channel) -> str | None:
        call = UnaryStreamMethod(calls, f"{CONTROL}/Status", pb.StatusRequest, pb.StatusResponse)
        with pytest.raises(GRPCError) as failure:
            await call(pb.StatusRequest(ref=name))
        return failure.value.message

    message = with_calls(engine, scenario)
    assert message is not None
    assert f"no such job {name}" in message


def test_a_session_has_one_owner(engine: Engine, name: str) -> None:
    connected = upgraded(engine, "/session", X_Docker_Expose_Session_Uuid=name)
    headers = {"Upgrade": "h2c", "Connection": "Upgrade", "X-Docker-Expose-Session-Uuid": name}
    answer = engine.api.post("/session", headers=headers)
    assert (answer.status, answer.message) == (400, f"session {name} already exists")
    connected.close()


def test_a_session_that_goes_ends_its_build(engine: Engine, name: str) -> None:
    async def run() -> str | None:
        session = upgraded(
            engine,
            "/session",
            X_Docker_Expose_Session_Uuid=name,
            X_Docker_Expose_Session_Grpc_Method=FILE_SYNC,
        )
        session.setblocking(False)
        is_asked = asyncio.Event()

        async def hang(stream: Stream[Packet, Packet]) -> None:
            is_asked.set()
            await asyncio.sleep(1000)

        services = Services({FILE_SYNC: Handler(hang, Cardinality.STREAM_STREAM, Packet, Packet)})
        serving = asyncio.create_task(services.serve(session, b""))
        connected = upgraded(engine, "/grpc")
        connected.setblocking(False)
        calls = Calls(connected, b"")
        running = asyncio.create_task(calls.run())
        building = asyncio.create_task(solve(calls)(request(name, name)))
        await is_asked.wait()
        serving.cancel()
        try:
            with pytest.raises(GRPCError) as failure:
                await building
            return failure.value.message
        finally:
            running.cancel()
            await asyncio.wait([running, serving])

    assert asyncio.run(run())


def native(engine: Engine) -> Channel:
    return Channel(path=engine.host.removeprefix("unix://"))


@pytest.fixture
def newest(engine: Engine) -> Engine:
    """HTTP/2 on the socket itself came with dockerd 29."""
    if int(engine.api.json("/version")["Version"].partition(".")[0]) < 29:
        pytest.skip("this dockerd does not speak HTTP/2 on its socket")
    return engine


def test_http_2_on_the_socket_itself(newest: Engine) -> None:
    async def run() -> int:
        async with native(newest) as calls:
            return len((await workers(calls)).records)

    assert asyncio.run(run()) == 1


def test_a_session_inside_a_call(newest: Engine, name: str) -> None:
    """How clients that speak HTTP/2 open their session: a connection in the messages of a stream."""

    async def run() -> str | None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        was_asked_for: list[str] = []

        async def refuse(stream: Stream[Packet, Packet]) -> None:
            was_asked_for.append(str((stream.metadata or {}).get("dir-name")))
            raise GRPCError(Status.UNKNOWN, "no files today")

        services = Services({FILE_SYNC: Handler(refuse, Cardinality.STREAM_STREAM, Packet, Packet)})
        serving = asyncio.create_task(services.serve(theirs, b""))
        reader, writer = await asyncio.open_connection(sock=ours)
        async with native(newest) as calls:
            call = StreamStreamMethod(calls, f"{CONTROL}/Session", pb.BytesMessage, pb.BytesMessage)
            metadata = {
                "x-docker-expose-session-uuid": name,
                "x-docker-expose-session-grpc-method": FILE_SYNC,
            }
            async with call.open(metadata=metadata) as stream:
                await stream.send_request()

                async def send() -> None:
                    while data := await reader.read(65536):
                        await stream.send_message(pb.BytesMessage(data=data))

                async def receive() -> None:
                    async for message in stream:
                        writer.write(message.data)

                pumps = [asyncio.create_task(send()), asyncio.create_task(receive())]
                with pytest.raises(GRPCError) as failure:
                    await solve(calls)(request(name, name))
                for task in (*pumps, serving):
                    task.cancel()
                await asyncio.wait([*pumps, serving])
                await stream.cancel()
        writer.close()
        assert was_asked_for == ["dockerfile"]
        return failure.value.message

    message = asyncio.run(run())
    assert message is not None
    assert "no files today" in message
