"""Real shims on a real kernel: a supervisor of its own for each test, busybox containers, and a look at what stays."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tarfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from harness import images
from lightship.engine.shim.client import Task
from lightship.engine.shim.messages import Attach, Event, Exited, LogConfig, TaskRequest
from lightship.engine.supervisor.supervisor import Supervisor

LIMIT_S = 60


class Lab:
    """A place for tasks, and a supervisor whose events can be waited for."""

    def __init__(self, root: Path, rootfs: Path) -> None:
        self.root, self.rootfs = root, rootfs
        self.cgroup = f"/lightship-test-{uuid.uuid4().hex[:12]}"
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.supervisor = Supervisor(root / "tasks", root / "containers")

    def log_path(self, id: str) -> Path:
        return self.root / "containers" / id / f"{id}-json.log"

    def spec(
        self, script: str, *, tty: bool = False, args: list[str] | None = None, **resources: Any
    ) -> dict[str, Any]:
        return {
            "ociVersion": "1.2.0",
            "process": self.process(script, tty=tty, args=args),
            "root": {"path": "rootfs"},
            "hostname": "lab",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {
                    "destination": "/dev/pts",
                    "type": "devpts",
                    "source": "devpts",
                    "options": ["newinstance", "ptmxmode=0666", "mode=0620"],
                },
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")],
                "cgroupsPath": f"{self.cgroup}/{uuid.uuid4().hex[:12]}",
                "resources": resources,
            },
        }

    @staticmethod
    def process(script: str, *, tty: bool = False, args: list[str] | None = None) -> dict[str, Any]:
        return {
            "terminal": tty,
            "user": {"uid": 0, "gid": 0},
            "args": args or ["/bin/sh", "-c", script],
            "env": ["PATH=/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: ["CAP_KILL"] for kind in ("bounding", "effective", "permitted")},
        }

    def request(
        self, script: str, *, id: str = "c1", tty: bool = False, log: bool = True, **fields: Any
    ) -> TaskRequest:
        (self.root / "containers" / id).mkdir(parents=True, exist_ok=True)
        spec = fields.pop("spec", None) or self.spec(script, tty=tty)
        options = fields.pop("log_options", {})
        return TaskRequest(
            id,
            spec,
            [{"type": "bind", "source": str(self.rootfs), "options": ["rbind", "ro"]}],
            log=LogConfig("json-file", str(self.log_path(id)), **options) if log else None,
            start=fields.pop("start", True),
            **fields,
        )

    async def run(self, script: str, **fields: Any) -> Task:
        task, _ = await self.supervisor.create_task(self.request(script, **fields))
        return task

    async def event(self, kind: type[Event]) -> Any:
        """Wait for the next event, which is to be of `kind`."""
        async with asyncio.timeout(LIMIT_S):
            event = await self.events.get()
        assert isinstance(event, kind), event
        return event

    async def until(self, check: Callable[[], Awaitable[bool]]) -> None:
        """Ask until it is so: for what the kernel tells nobody."""
        async with asyncio.timeout(LIMIT_S):
            while not await check():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def exit_code(self) -> int:
        code: int = (await self.event(Exited)).exit_code
        return code

    async def hear(self, _task: Task, event: Event) -> None:
        self.events.put_nowait(event)


class Client:
    """The far end of a hijacked connection."""

    def __init__(self) -> None:
        self._mine, theirs = socket.socketpair()
        self._mine.setblocking(False)
        self.theirs = theirs

    def attach(self, **how: Any) -> tuple[int, Attach]:
        return self.theirs.fileno(), Attach(**({"stdout": True, "stderr": True} | how))

    def given(self) -> None:
        """It was handed over."""
        self.theirs.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._mine, data)

    def half_close(self) -> None:
        self._mine.shutdown(socket.SHUT_WR)

    async def receive(self, size: int = 65536) -> bytes:
        async with asyncio.timeout(LIMIT_S):
            return await asyncio.get_running_loop().sock_recv(self._mine, size)

    async def receive_until(self, wanted: bytes) -> bytes:
        data = b""
        while wanted not in data:
            chunk = await self.receive()
            assert chunk, f"the end came before {wanted!r}: {data!r}"
            data += chunk
        return data

    async def receive_all(self) -> bytes:
        data = bytearray()
        while chunk := await self.receive():
            data += chunk
        return bytes(data)

    def close(self) -> None:
        self._mine.close()
        self.theirs.close()


@pytest.fixture(scope="session")
def busybox_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("busybox")
    with tarfile.open(fileobj=io.BytesIO(images.busybox_layer())) as tar:
        tar.extractall(root)  # the filter argument came with 3.11.4; Debian 12 has 3.11.2
    return root


@pytest.fixture
def client() -> Iterator[Callable[[], Client]]:
    made: list[Client] = []

    def make() -> Client:
        made.append(Client())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def lab(tmp_path: Path, busybox_rootfs: Path) -> Iterator[Callable[[], Any]]:
    """Open a lab: `async with lab() as there`. Nothing may be left of its cgroups and bundles."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    labs: list[Lab] = []

    @asynccontextmanager
    async def open_lab() -> AsyncIterator[Lab]:
        there = Lab(tmp_path, busybox_rootfs)
        labs.append(there)
        there.supervisor.listen(there.hear)
        await there.supervisor.start()
        try:
            yield there
        finally:
            try:
                await asyncio.gather(*(there.supervisor.delete(path.name) for path in (tmp_path / "tasks").iterdir()))
            finally:
                await there.supervisor.stop()

    yield open_lab
    for there in labs:
        assert not cgroups(there.cgroup), "a cgroup is left"
        assert not list((tmp_path / "tasks").iterdir()), "a bundle is left"


def cgroups(path: str) -> list[str]:
    """Find the groups below ours in any hierarchy, and remove the parent that the first container made."""
    left = []
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        parent = hierarchy / path.strip("/")
        if parent.is_dir():
            left += [str(child) for child in parent.iterdir() if child.is_dir()]
            if not left:
                parent.rmdir()
    return left
