"""An engine in this process, and builds in it whose graphs are made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
from lightship.engine import errors
from lightship.engine.build.frontend import Bridge, BuiltImage, Request, Result
from lightship.engine.build.graph import ImageSource, LocalSource, Run, Step
from lightship.engine.build.progress import Log, Progress, Told, Vertex
from lightship.engine.build.request import BuildRequest, Exporter, Outcome
from lightship.engine.config import EngineConfig
from lightship.engine.engine import Engine
from lightship.engine.images.config import History, ImageConfig, Platform, RunConfig
from lightship.engine.images.registry.credentials import ANONYMOUS, Credentials

from .namespaces import NetNS

HERE = Platform.of_host()
BUSYBOX = "docker.io/library/busybox:latest"


def run(base: Step | None, command: str, **fields: object) -> Run:
    args = ("/bin/sh", "-c", command)
    fields = {"name": f"RUN {command}", **fields}
    return Run(base, args, (), "/", "", HERE, **fields)  # type: ignore[arg-type]


def context(unique: str = "session") -> LocalSource:
    return LocalSource("context", unique, name="load build context")


class Client:
    """A client whose directories are on this host."""

    def __init__(self, context: Path | None = None, secrets: Mapping[str, bytes] = {}) -> None:  # noqa: B006
        self.shared_key = str(context)
        self.context, self.secrets = context, secrets
        self.sent: dict[str, bytes] = {}
        self.directories: list[Path] = []

    async def sync(self, source: LocalSource, directory: Path, progress: Progress) -> None:
        assert self.context is not None
        for child in directory.iterdir():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        shutil.copytree(self.context, directory, dirs_exist_ok=True, symlinks=True)

    async def credentials(self, domain: str) -> Credentials:
        return ANONYMOUS

    async def secret(self, id: str) -> bytes:
        try:
            return self.secrets[id]
        except KeyError:
            raise errors.NotFound(f"secret {id} not found") from None

    async def ssh_agent(self, id: str, socket_path: Path) -> None:
        if id != "default":
            raise errors.NotFound(f"no ssh agent {id}")

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"agent here")
            writer.close()

        async with await asyncio.start_unix_server(answer, socket_path) as server:
            await server.serve_forever()

    async def send_directory(self, directory: Path, attributes: Mapping[str, str]) -> None:
        copy = Path(tempfile.mkdtemp(dir=self.context))
        shutil.copytree(directory, copy, dirs_exist_ok=True, symlinks=True)
        self.directories.append(copy)

    async def send_stream(self, stream: AsyncIterator[bytes], attributes: Mapping[str, str]) -> None:
        self.sent[attributes.get("dest", "")] = b"".join([chunk async for chunk in stream])


class Heard:
    """What was told of a build."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    def __call__(self, told: Told) -> None:
        self.told.append(told)

    def vertices(self, name: str) -> list[Vertex]:
        return [told for told in self.told if isinstance(told, Vertex) and told.name == name]

    def is_cached(self, name: str) -> bool:
        return self.vertices(name)[-1].is_cached

    def output(self, name: str) -> bytes:
        digest = self.vertices(name)[-1].digest
        return b"".join(told.data for told in self.told if isinstance(told, Log) and told.vertex == digest)


class Site:
    """A running engine, its data, and the client's context."""

    def __init__(self, engine: Engine, context: Path) -> None:
        self.engine, self.context = engine, context

    async def build(
        self,
        frontend: Callable[[Step], Step | None],
        *,
        client: Client | None = None,
        exporters: tuple[Exporter, ...] = (Exporter("moby", {"name": "docker.io/library/made:latest"}),),
        platforms: tuple[Platform, ...] = (HERE,),
        options: Mapping[str, str] = {},  # noqa: B006
        **request: object,
    ) -> tuple[Outcome, Heard]:
        """Build what the frontend makes of the step of a base image, the same for each platform."""
        heard = Heard()
        outcome = await self.engine.builds.build(
            BuildRequest(
                _frontend(frontend, platforms),
                Request(options, "session"),
                exporters,
                **request,  # type: ignore[arg-type]
            ),
            client or Client(self.context),
            heard,
        )
        return outcome, heard

    async def solve(self, frontend: Callable[[Step], Step | None], **options: object) -> Heard:
        """Run it without exporting anything."""
        return (await self.build(frontend, exporters=(), **options))[1]  # type: ignore[arg-type]

    async def fail(self, frontend: Callable[[Step], Step | None], **options: object) -> tuple[errors.Error, Heard]:
        heard = Heard()
        request = BuildRequest(_frontend(frontend), Request({}, "session"), **options)  # type: ignore[arg-type]
        with pytest.raises(errors.Error) as caught:
            await self.engine.builds.build(request, Client(self.context), heard)
        return caught.value, heard

    def leftovers(self) -> dict[str, list[str]]:
        """What a build may leave nowhere."""
        config = self.engine.config
        return {
            "snapshots": self.engine.snapshots.active(),
            "tasks": [path.name for path in config.tasks_dir.iterdir()],
            "containers": [path.name for path in config.containers_dir.iterdir()],
            "private": [path.name for path in (config.exec_root / "build").glob("*")],
            "ingests": [path.name for path in (config.data_root / "content/ingest").iterdir()],
            "temporary": [path.name for path in (config.data_root / "build/temporary").glob("*")],
        }

    def clean(self) -> bool:
        return not any(self.leftovers().values())


def _frontend(
    make: Callable[[Step], Step | None], platforms: tuple[Platform, ...] = (HERE,)
) -> Callable[[Request, Bridge], Awaitable[Result]]:
    async def frontend(request: Request, bridge: Bridge) -> Result:
        resolved = await bridge.resolve_image(BUSYBOX, HERE)
        step = make(ImageSource(resolved.digest_ref, HERE, name="FROM busybox"))
        history = [*(resolved.config.history or ()), History(created_by="ENV a=b", empty_layer=True)]
        config = RunConfig(cmd=["sh"])
        images = [
            BuiltImage(
                each, step, ImageConfig(architecture=each.architecture, os=each.os, config=config, history=history)
            )
            for each in platforms
        ]
        return Result(tuple(images))

    return frontend


class Machine:
    """Runs engines one after another over one data root."""

    def __init__(self, folder: Path, archive: bytes, netns: NetNS | None = None) -> None:
        self._folder, self._archive = folder, archive
        self.netns = netns or NetNS()
        self.context = folder / "context"
        self.context.mkdir()

    def another(self) -> Machine:
        """A machine with nothing but the same images and files, on the same network."""
        folder = self._folder / "another"
        folder.mkdir()
        made = Machine(folder, self._archive, self.netns)
        made.context = self.context
        return made

    def run(self, scenario: Callable[[Site], Awaitable[None]]) -> None:
        with self.netns.entered():
            asyncio.run(asyncio.wait_for(self._run(scenario), 120))

    async def _run(self, scenario: Callable[[Site], Awaitable[None]]) -> None:
        async with self._engine() as engine:
            await scenario(Site(engine, self.context))

    @contextlib.asynccontextmanager
    async def _engine(self) -> AsyncIterator[Engine]:
        engine = Engine(EngineConfig(data_root=self._folder / "data", exec_root=self._folder / "run"))
        await engine.start()
        try:
            if not engine.images.count():
                async for _ in engine.images.load(self._pieces()):
                    pass
            yield engine
        finally:
            await engine.stop()

    async def _pieces(self) -> AsyncIterator[bytes]:
        yield self._archive

    def close(self) -> None:
        self.netns.close()
