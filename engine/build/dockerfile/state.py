"""A stage while it is converted: what its instructions so far have made of its base."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ...errors import InvalidArgument
from ...images.config import History, ImageConfig, Platform, RootFS, RunConfig
from ...times import timestamp
from ..graph import Location, Step
from . import instructions as typed
from .sources import NamedContext

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
COMMENT = "buildkit.dockerfile.v0"


@dataclass(slots=True)
class Command:
    """An instruction with the stages that it takes from, one a mount for RUN; None is the build context.

    `step_name` is that of the step that it came to, empty where it only changed the configuration.
    """

    instruction: typed.Instruction
    sources: list[StageState | None] = field(default_factory=list)
    is_onbuild: bool = False
    step_name: str = ""


@dataclass(slots=True)
class ArgInfo:
    """A build argument, for an outline. `needs` are those that its default is made of."""

    argument: typed.Argument
    location: Location
    value: str = ""
    needs: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Asked:
    """What a stage asks of whoever builds it, for an outline."""

    arguments: dict[str, ArgInfo] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    secrets: dict[str, tuple[bool, Location]] = field(default_factory=dict)
    ssh: dict[str, tuple[bool, Location]] = field(default_factory=dict)

    def copy(self) -> Asked:
        return Asked(dict(self.arguments), set(self.used), dict(self.secrets), dict(self.ssh))


@dataclass(slots=True, eq=False)
class StageState:
    """`environment` is what RUN sees, build arguments included, unlike the image's.

    `is_listed` is a stage of the file, others stand for images that are only copied from. `paths` are what others take
    of it, shared with its base.
    """

    start: typed.From
    instructions: list[typed.Instruction] = field(default_factory=list)
    name: str = ""
    is_listed: bool = True
    base: StageState | None = None
    base_name: str = ""
    context: NamedContext | None = None
    platform: Platform | None = None
    asked: Asked = field(default_factory=Asked)
    commands: list[Command] = field(default_factory=list)
    needs: dict[StageState, typed.Instruction] = field(default_factory=dict)
    paths: set[str] = field(default_factory=set)
    context_paths: set[str] = field(default_factory=set)
    step: Step | None = None
    image: ImageConfig = field(default_factory=ImageConfig)
    base_digest_ref: str = ""
    base_image_id: str = ""
    base_step_name: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    build_arguments: dict[str, str] = field(default_factory=dict)
    cwd: str = "/"
    epoch: int | None = None
    is_cacheless: bool = False
    is_resolved: bool = False
    is_done: bool = False
    has_read_onbuild: bool = False
    has_workdir: bool = False
    command_index: int = 0
    command_total: int = 0
    last_locations: dict[str, Location] = field(default_factory=dict)

    @property
    def config(self) -> RunConfig:
        """The image's run configuration."""
        if self.image.config is None:
            self.image.config = RunConfig()
        return self.image.config

    @property
    def known_platform(self) -> Platform:
        assert self.platform is not None, "the base is resolved before instructions are converted"
        return self.platform

    def inherit(self) -> None:
        """Take over what the base stage, which is done, has come to; its triggers it keeps."""
        if self.base is None:
            return
        self.step, self.platform, self.paths = self.base.step, self.base.platform, self.base.paths
        self.image = copied(self.base.image)
        self.config.on_build = None
        self.base_digest_ref = self.base.base_digest_ref
        self.has_workdir = self.base.has_workdir
        self.environment = dict(self.base.environment)
        self.build_arguments = dict(self.base.build_arguments)

    def set_variable(self, name: str, value: str) -> None:
        """Set it as the newest."""
        self.environment.pop(name, None)
        self.environment[name] = value

    def ask(self, argument: typed.Argument, value: str | None, location: Location, *, is_inherited: bool) -> None:
        """Keep a build argument for an outline; one that the file declares further up is there already."""
        self.asked.used.add(argument.name)
        if not is_inherited:
            self.asked.arguments[argument.name] = ArgInfo(argument, location, value or "")

    def note(self, created_by: str, *, has_layer: bool = False) -> None:
        """Write a line of the image's history."""
        created = None if self.epoch is None else timestamp(self.epoch)
        entry = History(
            created=created, created_by=created_by, comment=COMMENT, empty_layer=None if has_layer else True
        )  # fmt: skip
        self.image.history = [*(self.image.history or ()), entry]


class StageStates:
    """All stages of a build, in order, images that are only copied from among them."""

    def __init__(self) -> None:
        self.all: list[StageState] = []
        self._by_name: dict[str, StageState] = {}

    def add(self, state: StageState) -> None:
        """Number it; its base is the stage that was last called so."""
        self.all.append(state)
        if base := self._by_name.get(state.base_name):
            state.base = base
            state.asked = base.asked.copy()
        if state.start.stage:
            self._by_name[state.start.stage.lower()] = state

    def find(self, name: str) -> StageState | None:
        return self._by_name.get(name.lower())

    def at(self, index: int) -> StageState:
        if not 0 <= index < len(self.all):
            raise InvalidArgument(f"invalid stage index {index}")
        return self.all[index]

    def names(self) -> list[str]:
        return [state.name for state in self.all if state.name]


def copied(image: ImageConfig) -> ImageConfig:
    return msgspec.json.decode(msgspec.json.encode(image), type=ImageConfig)


def empty_image(platform: Platform) -> ImageConfig:
    """Return what `FROM scratch` begins with."""
    return ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant or None,
        rootfs=RootFS(),
        config=RunConfig(working_dir="/", env=[PATH]),
    )
