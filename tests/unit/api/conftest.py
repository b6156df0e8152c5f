"""A served API with an engine in memory: real sockets, no container."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightship.api.app import build
from lightship.api.listen import Server
from lightship.engine.config import EngineConfig
from lightship.engine.errors import Conflict, Internal, NotFound, NotModified
from lightship.engine.events import Events
from lightship.engine.filters import Filters
from lightship.openapi.types.config import Config
from lightship.openapi.types.containers import (
    ContainerCreateResponse,
    ContainerInspectResponse,
    ContainerSummary,
    ContainerWaitResponse,
)
from lightship.openapi.types.images import ImageInspect, ImageSummary
from lightship.openapi.types.networks import EndpointSettings, NetworkSettings
from lightship.openapi.types.system import SystemInfo, SystemVersion
from lightship.openapi.types.volumes import Volume, VolumeCreateRequest


@dataclass
class FakeAttachment:
    """Hands the client to a test's function, in a thread, as the shim would be another process."""

    tty: bool
    serve: Callable[[socket.socket, bytes], None]
    threads: list[threading.Thread] = field(default_factory=list)

    async def hand_over(self, client: socket.socket, prefix: bytes) -> None:
        client.setblocking(True)
        thread = threading.Thread(target=self.serve, args=(client, prefix))
        thread.start()
        self.threads.append(thread)


@dataclass
class FakeLogs:
    tty: bool
    chunks: list[bytes]
    may_open: asyncio.Event

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await self.may_open.wait()
        yield b""
        for chunk in self.chunks:
            yield chunk


class FakeContainers:
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.attachment: FakeAttachment | None = None
        self.finished = asyncio.Event()
        self.logs_open = asyncio.Event()
        self.logs_open.set()

    async def list(self, filters: Filters, **options: Any) -> list[ContainerSummary]:
        self.calls.append(("list", options))
        return [ContainerSummary(id="a" * 64, names=["/one"], labels={"b": "2", "a": "1"})]

    async def create(self, request: Any, **options: Any) -> ContainerCreateResponse:
        self.calls.append(("create", request, options))
        if request.image == "missing":
            raise NotFound("No such image: missing:latest")
        return ContainerCreateResponse(id="c" * 64)

    async def inspect(self, ref: str, *, size: bool = False) -> ContainerInspectResponse:
        if ref != "one":
            raise NotFound(f"No such container: {ref}")
        networks = {"bridge": EndpointSettings(ip_address="172.17.0.2")}
        return ContainerInspectResponse(
            id="a" * 64, name="/one", config=Config(), network_settings=NetworkSettings(networks=networks)
        )

    async def start(self, ref: str, **options: Any) -> None:
        self.calls.append(("start", ref, options))

    async def stop(self, ref: str, **options: Any) -> None:
        self.calls.append(("stop", ref, options))
        if ref == "stopped":
            raise NotModified("container is already stopped")

    async def rename(self, ref: str, name: str) -> None:
        raise Conflict("name in use")

    async def kill(self, ref: str, *, signal: str) -> None:
        raise RuntimeError("a bug")

    async def wait(self, ref: str, condition: str) -> Any:
        if ref != "one":
            raise NotFound(f"No such container: {ref}")
        return self._exit()

    async def _exit(self) -> ContainerWaitResponse:
        try:
            await self.finished.wait()
        except asyncio.CancelledError:
            self.calls.append(("wait cancelled",))
            raise
        return ContainerWaitResponse(status_code=7)

    async def logs(self, ref: str, options: Any) -> FakeLogs:
        self.calls.append(("logs", options))
        return FakeLogs(ref == "tty", [b"first\n", b"", b"second\n"], self.logs_open)

    async def attach(self, ref: str, options: Any) -> FakeAttachment:
        self.calls.append(("attach", ref, options))
        if self.attachment is None:
            raise NotFound(f"No such container: {ref}")
        return self.attachment


class FakeExecs:
    def __init__(self, containers: FakeContainers) -> None:
        self.containers = containers
        self.requests: list[Any] = []

    async def create(self, ref: str, request: Any) -> str:
        self.requests.append(request)
        return "e" * 64

    async def prepare(self, exec_id: str, request: Any) -> FakeAttachment:
        self.requests.append(request)
        assert self.containers.attachment is not None
        return self.containers.attachment

    async def start_detached(self, exec_id: str, request: Any) -> None:
        self.requests.append(request)


class FakeImages:
    def __init__(self) -> None:
        self.loaded = 0
        self.names: list[str] = []
        self.fail_after = False

    async def list(self, filters: Filters, **options: Any) -> list[ImageSummary]:
        return [ImageSummary(id="sha256:" + "b" * 64, repo_tags=[], repo_digests=[], size=5, containers=2)]

    async def inspect(self, ref: str, **options: Any) -> ImageInspect:
        self.names.append(ref)
        return ImageInspect(id="sha256:" + "b" * 64, size=5)

    async def load(self, source: AsyncIterator[bytes], **options: Any) -> AsyncIterator[dict[str, str]]:
        async for chunk in source:
            self.loaded += len(chunk)
        yield {"stream": f"{self.loaded}\n"}
        if self.fail_after:
            raise Internal("disk full")

    async def save(self, names: list[str], **options: Any) -> AsyncIterator[bytes]:
        self.names += names
        if names == ["nope"]:
            raise NotFound("No such image: nope")
        yield b"tar"
        yield b"ball"


class FakeVolumes:
    def __init__(self) -> None:
        self.filters: list[Filters] = []

    async def create(self, request: VolumeCreateRequest) -> Volume:
        return Volume(name=request.name or "anonymous", driver="local")

    async def prune(self, filters: Filters) -> tuple[list[str], int]:
        self.filters.append(filters)
        return ["v"], 3


class FakeSystem:
    def version(self) -> SystemVersion:
        return SystemVersion(version="1", api_version="1.55")

    async def info(self) -> SystemInfo:
        return SystemInfo(id="x")


class FakeEngine:
    def __init__(self) -> None:
        self.id = "engine"
        self.config = EngineConfig()
        self.events = Events()
        self.containers = FakeContainers()
        self.execs = FakeExecs(self.containers)
        self.images = FakeImages()
        self.volumes = FakeVolumes()
        self.system = FakeSystem()
        self.authorization = SimpleNamespace(names=())


class Served:
    """The API on a unix socket, its loop in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.loop = asyncio.new_event_loop()
        self.engine = FakeEngine()
        self._ready = threading.Event()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run)
        self._clients: list[socket.socket] = []

    def __enter__(self) -> Served:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_error: object) -> None:
        for client in self._clients:
            client.close()
        self.call(self._stopped.set)
        self._thread.join()

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.loop.call_soon_threadsafe(function, *arguments)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self.path)
        server = Server(build(self.engine))  # type: ignore[arg-type]
        await server.serve([listener])
        self._ready.set()
        await self._stopped.wait()
        self.engine.events.close()
        await server.stop(1)

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self._clients.append(client)
        client.settimeout(60)
        client.connect(self.path)
        return client

    def raw(self, request: bytes) -> bytes:
        """Send bytes; return everything until the server closes."""
        with self.connect() as client:
            client.sendall(request)
            return b"".join(iter(lambda: client.recv(65536), b""))

    def request(self, method: str, target: str, body: Any = None, **headers: str) -> tuple[HTTPResponse, bytes]:
        connection = HTTPConnection("docker")
        connection.sock = self.connect()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, target, body=body, headers=named)
        response = connection.getresponse()
        try:
            return response, response.read()
        finally:
            connection.close()

    def json(self, method: str, target: str, body: bytes = b"{}") -> tuple[HTTPResponse, bytes]:
        return self.request(method, target, body, content_type="application/json")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "docker.sock") as running:
        yield running
