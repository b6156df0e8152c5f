"""Builds of `POST /build`, from the tar that comes to the last message. One an engine, used by the route alone."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...containers.fileworkers import Archive
from ...errors import Error, Internal, InvalidArgument
from ...images.progress import Message, stream
from ...images.references import Reference
from ...numbers import natural
from ..dockerfile import instructions as typed
from ..dockerfile.checks import Checks, Choice
from ..dockerfile.convert import Converted
from ..dockerfile.errors import DockerfileError
from ..dockerfile.frontend import build_observed
from ..dockerfile.interpret import stages as read_stages
from ..dockerfile.parser import parse
from ..dockerfile.quoting import go_list, go_quote
from ..frontend import Bridge, Request, Result
from ..graph import PROXY_VARIABLES
from ..request import BuildRequest, Exporter, Outcome
from ..vertices import StepError
from . import failures
from .client import TarClient
from .narrator import Narrator
from .options import ClassicOptions
from .traced import traced

if TYPE_CHECKING:
    from ...engine import Engine

_DOCKERFILE = "Dockerfile"


class ClassicBuilds:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._running: dict[str, asyncio.Task[Any]] = {}

    def cancel(self, id: str) -> None:
        """End a build by the id that its client gave it; one that is not there is over."""
        if not id:
            raise InvalidArgument("build ID not provided")
        if task := self._running.get(id):
            task.cancel()

    async def build(self, options: ClassicOptions, archive: Archive) -> AsyncIterator[Message]:
        """Yield what is told of the build. What goes wrong before there is anything to tell is raised."""
        names = options.references()
        root = self._engine.config.data_root / "build" / "temporary"
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(dir=root))
        try:
            if not options.remote:
                await self._receive(archive, directory)
            build = _Build(self._engine, options, names, directory)
            messages = traced(self._engine, options, names, directory) if options.is_traced else self._told(build)
            async with aclosing(messages):
                async for message in messages:
                    yield message
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    async def _receive(self, archive: Archive, directory: Path) -> None:
        """Unpack the context; all files are root's, as the classic builder copies them."""
        try:
            await self._engine.containers.context.file_workers.write(
                "extract", archive, root={"bare": [{"upper": str(directory), "lower": []}]}, path="/",
                keeps_kinds=False, user="0:0", mounts=[], read_only=False,
            )  # fmt: skip
        except Error as error:
            raise Internal(str(error)) from error

    async def _told(self, build: _Build) -> AsyncGenerator[Message, None]:
        build.check()
        task = asyncio.create_task(build.run())
        if build.options.build_id:
            self._running[build.options.build_id] = task
        try:
            while (message := await build.messages.get()) is not None:
                yield message
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        finally:
            self._running.pop(build.options.build_id, None)
            task.cancel()
            await asyncio.wait([task])


class _Build:
    """One build. `messages` ends with None."""

    def __init__(self, engine: Engine, options: ClassicOptions, names: tuple[Reference, ...], directory: Path) -> None:
        self.options = options
        self.messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._engine, self._names, self._directory = engine, names, directory
        self._held: list[Message] = []
        self._has_told = False
        self._narrator = Narrator(self._send, keeps_containers=options.keeps_containers)
        self._stages: list[typed.Stage] = []
        self._unused: set[str] = set()

    def check(self) -> None:
        """Refuse a Dockerfile that is none before anything is answered, with dockerd's words."""
        if self.options.remote:
            return
        filename = self.options.dockerfile or _DOCKERFILE
        path = self._directory / filename.lstrip("/")
        if not path.resolve().is_relative_to(self._directory.resolve()):
            raise Internal(f"forbidden path outside the build context: {filename} ()")
        if not path.is_file() and filename == _DOCKERFILE:
            path = path.with_name(_DOCKERFILE.lower())
        if not path.is_file():
            raise Internal(f"Cannot locate specified Dockerfile: {filename}")
        text = path.read_bytes().decode(errors="replace")
        if not text:
            raise InvalidArgument(f"the Dockerfile ({filename}) cannot be empty")
        try:
            nodes = parse(text).nodes
        except DockerfileError as error:
            raise InvalidArgument(f"failed to parse Dockerfile: {error}") from error
        self._stages, _ = read_stages(nodes, Checks(Choice(), lambda finding: None))
        if target := self.options.target:
            names = [stage.start.stage for stage in self._stages]
            is_number = natural(target, below=len(names)) is not None
            if target.lower() not in names and not is_number:
                raise InvalidArgument(f"target stage {go_quote(target)} could not be found")

    async def run(self) -> None:
        try:
            await self._run()
        except asyncio.CancelledError:
            self._send(failures.message("Build cancelled: context canceled"))
            raise
        except Error as error:
            if not self._tell_failure(error):
                raise
        finally:
            self.messages.put_nowait(None)

    async def _run(self) -> None:
        options = self.options
        name = {"name": ",".join(map(str, self._names))} if self._names else {}
        request = BuildRequest(
            frontend=self._frontend,
            request=Request(self._frontend_options(), unique=self._directory.name),
            exporters=(Exporter("moby", name),),
            entitlements=frozenset({"network.host"}),
            is_classic=True,
        )
        client = TarClient(self._directory, options.credentials)
        outcome = await self._engine.builds.build(request, client, self._narrator.hear)
        self._finish(outcome)

    def _frontend_options(self) -> dict[str, str]:
        """Where images are named to take results from, and none of them is here, nothing is used, as in dockerd."""
        options = self.options.for_frontend()
        names = self.options.cache_from
        if names and not any(self._engine.images.find_id(name) for name in names):
            options["no-cache"] = ""
        return options

    async def _frontend(self, request: Request, bridge: Bridge) -> Result:
        return await build_observed(request, bridge, self._begin)

    def _begin(self, converted: Converted) -> None:
        used = {name for state in converted.stages for name in (*state.asked.used, *state.asked.arguments)}
        self._unused = {name for name in self.options.build_args if name not in used}
        self._unused -= {name for name in self._unused if name.lower() in PROXY_VARIABLES}
        self._narrator.begin(converted, [f"{name}={value}" for name, value in self.options.labels.items()])

    def _finish(self, outcome: Outcome) -> None:
        self._narrator.finish(outcome.image_id)
        if self.options.wants_aux:
            self._send({"aux": {"ID": outcome.image_id}})
        if self._unused:
            names = go_list(sorted(self._unused))
            self._send(stream(f"[Warning] One or more build-args {names} were not consumed\n"))
        self._send(stream(f"Successfully built {outcome.image_id[7:19]}\n"))
        for name in self._names:
            self._send(stream(f"Successfully tagged {name.familiar}\n"))
        if self.options.is_quiet:
            self._held.clear()
            self.messages.put_nowait(stream(f"{outcome.image_id}\n"))

    def _tell_failure(self, error: Error) -> bool:
        """Word a failure as the last message; False where nothing was told before it: it is the request's then."""
        if isinstance(error, StepError):
            line = self._narrator.fail(error.step.name)
            self._send(failures.of_step(error, line.text if line else ""))
        elif isinstance(error, DockerfileError) and self._tell_place(error):
            self._send(failures.of_dockerfile(error))
        elif self._has_told:
            self._send(failures.message(str(error)))
        else:
            return False
        for message in self._held:
            self.messages.put_nowait(message)
        return True

    def _tell_place(self, error: DockerfileError) -> bool:
        """Tell the instruction that could not even be begun, where it is known."""
        instructions = [each for stage in self._stages for each in (stage.start, *stage.instructions)]
        for number, instruction in enumerate(instructions, 1):
            if error.locations and instruction.location.first == error.locations[-1].first:
                self._narrator.begin_only(instruction.source, number, len(instructions))
                return True
        return False

    def _send(self, message: Message) -> None:
        """A quiet build tells of its course only where it fails."""
        self._has_told = True
        if self.options.is_quiet:
            self._held.append(message)
        else:
            self.messages.put_nowait(message)
