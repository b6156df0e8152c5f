"""From a Dockerfile to the steps that make its image, for one platform.

The order is BuildKit's: stages are listed, linked and resolved, then those that the target needs are converted in the
order in which they stand, and last it is known what of the client's files is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ...errors import InvalidArgument
from ...images import references
from ...images.config import Platform
from ...times import timestamp
from ..frontend import Bridge, BuiltImage
from ..graph import Step
from ..patterns import Patterns
from . import directives
from . import instructions as typed
from .apply import apply
from .arguments import global_arguments, predefined
from .checks import Checks, Choice, Finding, parse_choice
from .errors import DockerfileError, located
from .interpret import stages as read_stages
from .options import Options, normalized
from .parser import Parsed, parse
from .pending import Pending, settled
from .shellwords import Lexer
from .sources import Sources
from .stages import find_target, link_stages, list_stages, resolve_stages
from .state import PATH, ArgInfo, StageState, StageStates


@dataclass(slots=True)
class Conversion:
    """One Dockerfile for one platform. `wants_all_stages`: a check looks at those, too, that no target needs."""

    options: Options
    sources: Sources
    bridge: Bridge
    checks: Checks
    lexer: Lexer
    build_platform: Platform
    target_platform: Platform
    wants_all_stages: bool = False
    states: StageStates = field(default_factory=StageStates)
    global_arguments: dict[str, str] = field(default_factory=dict)
    argument_infos: dict[str, ArgInfo] = field(default_factory=dict)
    epoch: int | None = None
    ignored: Patterns | None = None
    pending_paths: dict[str, list[StageState]] = field(default_factory=dict)

    @property
    def no_checks(self) -> Checks:
        return Checks(Choice(), lambda finding: None)


@dataclass(frozen=True, slots=True)
class Converted:
    """`stages` are those that the target needs, itself among them, in order."""

    image: BuiltImage
    target: StageState
    stages: tuple[StageState, ...]


async def convert(
    text: str,
    options: Options,
    sources: Sources,
    bridge: Bridge,
    *,
    platform: Platform | None,
    report: Callable[[Finding], None],
    wants_all_stages: bool = False,
) -> Converted:
    """Raises DockerfileError."""
    if not text:
        raise InvalidArgument("the Dockerfile cannot be empty")
    checks = Checks(options.choice or choice_of(text), report)
    parsed = parse(text)
    stages, global_args = _read(parsed, checks)
    build = normalized(Platform.of_host())
    conversion = Conversion(
        options, sources, bridge, checks, Lexer(parsed.escape), build, platform or build, wants_all_stages
    )  # fmt: skip
    _set_arguments(conversion, stages, global_args)
    list_stages(conversion, stages)
    target = find_target(conversion)
    link_stages(conversion)
    needed = await resolve_stages(conversion, target)
    await _convert_stages(conversion, needed)
    target.paths.add("/")
    checks.raise_if_error()
    image = await _finished(conversion, target, is_chosen=platform is not None)
    return Converted(image, target, tuple(state for state in conversion.states.all if state in needed))


def choice_of(text: str) -> Choice:
    """Return what the file's own `# check=` asks for."""
    directive = directives.find("check", text)
    try:
        return parse_choice(directive.value.partition(" ")[0]) if directive else Choice()
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to parse check options: {error}") from error


def _read(parsed: Parsed, checks: Checks) -> tuple[list[typed.Stage], list[typed.Arg]]:
    for location in parsed.empty_continuations:
        checks.no_empty_continuation(location)
    stages, global_args = read_stages(parsed.nodes, checks)
    if not stages:
        raise DockerfileError("dockerfile contains no stages to build")
    checks.stage_names((stage.start.location, stage.start.stage) for stage in stages)
    named = [instruction for stage in stages for instruction in (stage.start, *stage.instructions)]
    checks.instruction_casing((instruction.location, instruction.name) for instruction in named)
    return stages, global_args


def _set_arguments(conversion: Conversion, stages: Sequence[typed.Stage], global_args: Sequence[typed.Arg]) -> None:
    options = conversion.options
    stage = options.target or stages[-1].start.stage
    known = predefined(conversion.build_platform, conversion.target_platform, stage, options.build_args)
    _check_default_bases(conversion, stages, global_args, known)
    conversion.global_arguments, conversion.argument_infos = global_arguments(
        known, global_args, conversion.lexer, options.build_args
    )
    epoch = options.build_args.get("SOURCE_DATE_EPOCH") or conversion.global_arguments.get("SOURCE_DATE_EPOCH")
    if epoch:
        try:
            conversion.epoch = int(epoch)
        except ValueError:
            raise InvalidArgument(f"invalid SOURCE_DATE_EPOCH: {epoch}") from None


def _check_default_bases(
    conversion: Conversion, stages: Sequence[typed.Stage], global_args: Sequence[typed.Arg], known: dict[str, str]
) -> None:
    """Bases are to be names, too, where no build argument is given."""
    try:
        values, _ = global_arguments(known, global_args, conversion.lexer, {})
        bases = [(stage, conversion.lexer.expand(stage.start.base, values).text) for stage in stages]
    except InvalidArgument:
        return
    for stage, base in bases:
        try:
            references.parse(base)
        except InvalidArgument:
            conversion.checks.default_arg_in_from(stage.start.location, stage.start.base)


async def _convert_stages(conversion: Conversion, needed: set[StageState]) -> None:
    conversion.ignored = Patterns(await conversion.sources.ignored())
    for state in conversion.states.all:
        if state not in needed or state.is_done:
            continue
        state.is_done = True
        state.inherit()
        _begin(state, conversion.target_platform)
        for command in state.commands:
            with located(command.instruction.location):
                below = state.step
                apply(conversion, state, command)
            if state.step is not None and state.step is not below:
                command.step_name = state.step.name


def _begin(state: StageState, target: Platform) -> None:
    state.platform = state.platform or target
    variables = state.config.env or []
    if not any(variable.startswith("PATH=") for variable in variables):
        state.config.env = variables = [*variables, PATH]
    for variable in variables:
        name, _, value = variable.partition("=")
        state.set_variable(name, value)
    state.cwd = state.config.working_dir or "/"


async def _finished(conversion: Conversion, target: StageState, *, is_chosen: bool) -> BuiltImage:
    image, platform = target.image, conversion.target_platform
    if conversion.options.labels:
        target.config.labels = (target.config.labels or {}) | conversion.options.labels
    if is_chosen:
        is_same = (image.os, image.architecture) == (platform.os, platform.architecture)
        image.os, image.architecture = platform.os, platform.architecture
        image.variant = platform.variant or (image.variant if is_same else None)
    if conversion.epoch is not None:
        image.created = timestamp(conversion.epoch)
    step = await _settled(conversion, target.step)
    return BuiltImage(platform, step, image, target.base_digest_ref)


async def _settled(conversion: Conversion, step: Step | None) -> Step | None:
    """Ask for no more of the client's files than the stages need."""
    paths = {path for state in conversion.states.all for path in state.context_paths}
    context = await conversion.sources.context(paths)

    def source(pending: Pending) -> Step:
        if not pending.key:
            return context
        used = {path for state in conversion.pending_paths[pending.key] for path in state.paths}
        return conversion.sources.named_local(pending, used)

    return settled(step, source)
