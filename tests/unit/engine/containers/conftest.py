"""Containers over a shim that is played in this process: real service, store, supervisor client and messages.

What the kernel and the other rooms would do is left out: networks and snapshots only note what they are asked.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightship.engine.config import EngineConfig
from lightship.engine.containers.containers import Containers
from lightship.engine.containers.execs import Execs
from lightship.engine.errors import NotFound
from lightship.engine.events import Events
from lightship.engine.filters import Filters
from lightship.engine.images.config import ImageConfig, RunConfig
from lightship.engine.networks.records import EndpointRecord, SandboxRecord
from lightship.engine.shim import protocol
from lightship.engine.snapshots.drivers import Overlay
from lightship.engine.store import Store
from lightship.engine.supervisor.supervisor import Supervisor
from lightship.engine.volumes.volumes import Volumes
from lightship.openapi.types.hostconfig import HostConfig
from lightship.openapi.types.requests import ContainerCreateRequest

IMAGE_ID = f"sha256:{'1' * 64}"
STARTED_NS = 1_700_000_000_000_000_000


class Shim:
    """One shim: answers what it is asked, unless `errors` says otherwise, and tells what a test has it tell."""

    def __init__(self, control_fd: int, bundle: Path, errors: dict[str, tuple[str, str]]) -> None:
        self.bundle, self.errors = bundle, errors
        self.asked: list[dict[str, Any]] = []
        self.clients: list[socket.socket] = []
        self.ignored_signals: set[int] = set()
        self.exit_at_start: int | None = None
        self._exited = False
        self._connection = socket.socket(fileno=control_fd)
        self._connection.setblocking(False)
        asyncio.get_running_loop().add_reader(control_fd, self._readable)

    def ops(self) -> list[str]:
        return [message["op"] for message in self.asked if message["op"] != "ack"]

    def exit(self, code: int, *, ns: int | None = None, oom: bool = False) -> None:
        self._exited = True
        self.tell({"event": "exit", "exit_code": code, "exited_ns": ns or time.time_ns(), "oom": oom, "ack": 1})

    def tell(self, message: dict[str, Any]) -> None:
        protocol.send(self._connection, {"ack": 2, **message})

    def close(self) -> None:
        if self._connection.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._connection.fileno())
            self._connection.close()
        for client in self.clients:
            client.close()

    def _readable(self) -> None:
        received = protocol.receive(self._connection)
        if received is None:
            self.close()
            return
        message, fds = received
        self.asked.append(message)
        self.clients += [socket.socket(fileno=fd) for name, fd in fds.steal_all().items() if name.startswith("client")]
        op = message["op"]
        if op == "ack":
            if self._exited and message["ack"] == 1:
                self.close()
            return
        if op in self.errors:
            kind, text = self.errors[op]
            error = {"kind": kind, "message": text, "errno": 0}
            protocol.send(self._connection, {"seq": message["seq"], "error": error})
            if op == "create":
                self.close()
            return
        protocol.send(self._connection, {"seq": message["seq"], "result": self._result(op)})
        self._after(message)

    def _result(self, op: str) -> dict[str, Any]:
        if op == "create":
            return {"pid": os.getpid(), "shim_pid": 0, "started_ns": STARTED_NS}
        if op == "attach":
            return {"attach_id": "1", "log_position": None}
        return {"exec": {"pid": 77}, "pids": {"pids": [os.getpid()]}}.get(op, {})

    def _after(self, message: dict[str, Any]) -> None:
        if message["op"] == "create" and self.exit_at_start is not None:
            self.exit(self.exit_at_start)
        if message["op"] == "kill" and message["signal"] not in self.ignored_signals:
            self.exit(128 + message["signal"])


class ForkServer:
    """Makes `Shim`s; `prepare` is called with each before it is asked anything."""

    def __init__(self) -> None:
        self.shims: list[Shim] = []
        self.errors: dict[str, tuple[str, str]] = {}
        self.prepare: Callable[[Shim], None] = lambda shim: None

    async def start(self) -> None: ...

    async def stop(self) -> None:
        for shim in self.shims:
            shim.close()

    async def fork_shim(self, bundle: Path, control_fd: int) -> None:
        shim = Shim(os.dup(control_fd), bundle, self.errors)
        self.prepare(shim)
        self.shims.append(shim)


class Networks:
    """Notes who has an endpoint."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    async def allocate(self, container_id: str, requests: list[Any], *, name: str, **_: Any) -> SimpleNamespace:
        self.held.add(container_id)
        endpoint = EndpointRecord(
            container_id=container_id,
            container_name=name,
            network_id="e" * 64,
            network_name=requests[0].network,
            network_driver="bridge",
            endpoint_id="d" * 64,
            ip_address="172.17.0.2",
        )
        record = SandboxRecord(
            container_id=container_id, container_name=name, sandbox_id="c" * 64, endpoints=(endpoint,)
        )
        return SimpleNamespace(record=record, netns_fd=None, sockets={}, served={}, close=lambda: None)

    async def release(self, container_id: str) -> None:
        self.held.discard(container_id)

    async def restore(self, running: set[str]) -> None: ...

    def rename(self, container_id: str, name: str) -> None: ...

    def find_or_none(self, ref: str) -> None: ...

    def set_pids(self, pid_of: Any) -> None: ...

    def upstream(self, **_: Any) -> None: ...

    def published(self, record: SandboxRecord) -> dict[str, Any]:
        return {}

    def hosts_file(self, mode: str, **_: Any) -> str:
        return ""

    def resolv_conf(self, mode: str, **_: Any) -> str:
        return ""


class Snapshots:
    """Notes which snapshots there are."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.driver = Overlay()

    async def prepare(self, key: str, layers: list[str]) -> None:
        self.keys.add(key)

    async def remove(self, key: str) -> None:
        self.keys.discard(key)

    def active(self) -> list[str]:
        return list(self.keys)

    def has(self, key: str) -> bool:
        return False

    def mounts(self, key: str) -> list[dict[str, Any]]:
        return []

    async def usage(self, key: str) -> int:
        return 10

    def layers_of(self, key: str) -> list[str]:
        return []

    def lower_paths(self, key: str) -> list[Path]:
        return []


class Images:
    """One image, `busybox`, with a descendant that nobody runs."""

    def __init__(self) -> None:
        self.catalog = self
        self.image = SimpleNamespace(id=IMAGE_ID, config=ImageConfig(config=RunConfig(cmd=["sh"])), diff_ids=[])
        self.users: Any = None

    def resolve(self, text: str, *, platform: object = None) -> SimpleNamespace:
        if self.find_id(text) is None:
            raise NotFound(f"No such image: {text}:latest")
        return self.image

    def find_id(self, text: str) -> str | None:
        return IMAGE_ID if text in ("busybox", IMAGE_ID) else None

    def descendants(self, image_id: str) -> set[str]:
        return set()

    def manifest_of(self, image: object, ref: str) -> None:
        return None


class Engine:
    """What `Containers` is made over, and what tests look at."""

    def __init__(self, root: Path) -> None:
        self.config = EngineConfig(data_root=root / "data", exec_root=root / "run")
        for directory in (self.config.containers_dir, self.config.tasks_dir):
            directory.mkdir(parents=True)
        self.store = Store(self.config.data_root / "db")
        self.events = Events()
        self.images, self.snapshots, self.networks = Images(), Snapshots(), Networks()
        self.volumes = Volumes(self.store, self.events, self.config.volumes_dir)
        self.supervisor = Supervisor(self.config.tasks_dir, self.config.containers_dir)
        self.fork_server = ForkServer()
        self.supervisor._zygote = self.fork_server  # type: ignore[assignment]
        self.containers = Containers(self)  # type: ignore[arg-type]
        self.execs = Execs(self.containers)

    @property
    def shim(self) -> Shim:
        """The newest one."""
        return self.fork_server.shims[-1]

    async def create(self, name: str = "box", **config: Any) -> str:
        host_config = config.pop("host_config", HostConfig())
        # A filter would have to be compiled.
        host_config.security_opt = ["seccomp=unconfined"]
        request = ContainerCreateRequest(image="busybox", host_config=host_config, **config)
        return (await self.containers.create(request, name=name)).id

    def actions(self) -> list[str]:
        """What was told of containers, in order."""
        return [event.action for event in self.events._history if event.type == "container"]

    def told(self, action: str) -> dict[str, str]:
        """The attributes of the newest event of a kind."""
        found = [event for event in self.events._history if event.action == action]
        return found[-1].actor.attributes or {}

    async def state(self, ref: str = "box") -> Any:
        return (await self.containers.inspect(ref)).state

    async def listed(self, **filters: list[str]) -> list[str]:
        found = await self.containers.list(Filters(filters), all=True)
        return [(summary.names or [""])[0].removeprefix("/") for summary in found]


class NoPlugins:
    """The engine's plugins, of which there are none."""

    def ids(self) -> list[str]:
        return []

    async def start(self) -> None:
        pass


@asynccontextmanager
async def running_engine(root: Path) -> AsyncIterator[Engine]:
    engine = Engine(root)
    await engine.containers.restore(NoPlugins())
    try:
        yield engine
    finally:
        await engine.containers.stop_all()
        await engine.supervisor.stop()
        engine.store.close()


@pytest.fixture
def with_engine(tmp_path: Path) -> Callable[[Callable[[Engine], Coroutine[Any, Any, None]]], None]:
    """Run a coroutine function with an engine."""

    def run(body: Callable[[Engine], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(20), running_engine(tmp_path) as engine:
                await body(engine)

        asyncio.run(main())

    return run
