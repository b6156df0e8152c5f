"""The stages of a Dockerfile: which there are, which of them a target needs, and what they stand on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ...errors import Error, InvalidArgument
from ...images import references
from ...images.config import ImageConfig, Platform
from ...images.content import digest_of
from ...numbers import integer
from ..graph import ImageSource
from . import instructions as typed
from .checks import Checks
from .errors import DockerfileError, located
from .interpret import interpret
from .mounts import origin_of
from .naming import prefixed
from .options import normalized, parse_platform
from .parser import parse
from .quoting import go_quote
from .state import Command, StageState, copied, empty_image
from .suggestions import suggestion

if TYPE_CHECKING:
    from .convert import Conversion

SCRATCH = "scratch"
_COMMON_IMAGES = ("alpine", "busybox", "centos", "debian", "golang", "ubuntu", "fedora")


def list_stages(conversion: Conversion, stages: Iterable[typed.Stage]) -> None:
    """Make a state of each stage. Raises DockerfileError."""
    for index, stage in enumerate(stages):
        checks = conversion.checks.merged_with(stage.start.comments)
        with located(stage.start.location):
            state = _state(conversion, stage, checks)
        state.is_cacheless = conversion.options.is_cacheless(stage.start.stage)
        state.name = stage.start.stage
        if state.name:
            platform = state.platform or conversion.target_platform
            state.context = conversion.sources.named(state.name, platform)
        conversion.states.add(state)
        if state.context is not None:
            state.base = None
            continue
        state.name = state.name or f"stage-{index}"
        counted = (typed.Transfer, typed.Run, typed.Workdir)
        state.command_total = sum(isinstance(instruction, counted) for instruction in state.instructions)
        state.command_total += state.base_name != SCRATCH and state.base is None


def _state(conversion: Conversion, stage: typed.Stage, checks: Checks) -> StageState:
    start, arguments = stage.start, conversion.global_arguments
    known = {*arguments, *conversion.argument_infos}
    base = conversion.lexer.expand(start.base, arguments)
    checks.undefined_args_in_from(start.location, base.unmatched, known)
    if not base.text:
        raise InvalidArgument(f"base name ({start.base}) should not be blank")
    state = StageState(start, list(stage.instructions), base_name=base.text, epoch=conversion.epoch)
    state.asked.arguments = dict(conversion.argument_infos)
    state.asked.used |= base.matched
    if start.platform:
        _set_platform(conversion, state, checks)
    return state


def _set_platform(conversion: Conversion, state: StageState, checks: Checks) -> None:
    start, arguments = state.start, conversion.global_arguments
    platform = conversion.lexer.expand(start.platform, arguments)
    checks.undefined_args_in_from(start.location, platform.unmatched, {*arguments, *conversion.argument_infos})
    state.asked.used |= platform.matched
    is_default = platform.matched == {"TARGETPLATFORM"} and platform.text == arguments.get("TARGETPLATFORM")
    if is_default and not platform.unmatched:
        checks.redundant_target_platform(start.location, start.platform)
    hint = "".join(suggestion(name, arguments) for name in sorted(platform.unmatched)[:1])
    if not platform.text:
        raise InvalidArgument(f"empty platform value from expression {start.platform}{hint}")
    try:
        state.platform = parse_platform(platform.text)
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to parse platform {start.platform}: {error}{hint}") from error
    is_constant = not platform.matched and not platform.unmatched
    if is_constant and state.platform.os not in start.stage and state.platform.architecture not in start.stage:
        checks.constant_platform(start.location, platform.text)


def find_target(conversion: Conversion) -> StageState:
    target = conversion.options.target
    if not target:
        return conversion.states.all[-1]
    state = conversion.states.find(target)
    if state is None:
        hint = suggestion(target, conversion.states.names())
        raise InvalidArgument(f"target stage {go_quote(target)} could not be found{hint}")
    return state


def link_stages(conversion: Conversion) -> None:
    """Find out which stage takes from which. Raises DockerfileError for a circle."""
    for state in list(conversion.states.all):
        state.commands = [_command(conversion, state, instruction) for instruction in state.instructions]
    _check_circles(conversion.states.all)
    only = conversion.states.all[0]
    # BuildKit counts what mounts are of as stages, be it nothing.
    has_mounts = any(isinstance(each, typed.Run) and each.mounts for each in only.instructions)
    if len(conversion.states.all) == 1 and not has_mounts:
        only.name = ""


def _command(conversion: Conversion, state: StageState, instruction: typed.Instruction) -> Command:
    command = Command(instruction)
    if isinstance(instruction, typed.Copy) and instruction.from_:
        command.sources = [_copied_from(conversion, instruction)]
    elif isinstance(instruction, typed.Run):
        origins = [origin_of(mount) for mount in instruction.mounts]
        command.sources = [_stage_or_image(conversion, origin, instruction) if origin else None for origin in origins]
    for source in command.sources:
        if source is not None:
            state.needs[source] = instruction
            if not source.is_listed:
                conversion.states.add(source)
    return command


def _copied_from(conversion: Conversion, instruction: typed.Copy) -> StageState:
    origin = instruction.from_
    if conversion.lexer.expand(origin, {}).text != origin:
        raise InvalidArgument(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope"
            " as a workaround"
        )
    if (number := integer(origin)) is not None:
        return conversion.states.at(number)
    return _stage_or_image(conversion, origin, instruction)


def _stage_or_image(conversion: Conversion, origin: str, instruction: typed.Instruction) -> StageState:
    if state := conversion.states.find(origin):
        return state
    start = typed.From(name="", source=instruction.source, location=instruction.location, base=origin)
    return StageState(start, base_name=origin, is_listed=False)


def _check_circles(states: Iterable[StageState]) -> None:
    visited: set[StageState] = set()
    path: set[StageState] = set()

    def visit(state: StageState, instructions: list[typed.Instruction]) -> list[typed.Instruction] | None:
        if state in visited:
            return None
        visited.add(state)
        path.add(state)
        for needed, instruction in state.needs.items():
            if needed in path:
                return [*instructions, instruction]
            if found := visit(needed, [*instructions, instruction]):
                return found
        path.discard(state)
        return None

    for state in states:
        if found := visit(state, []):
            places = [instruction.location for instruction in found]
            raise DockerfileError(f"circular dependency detected on stage: {state.name}", *places)


def reachable(target: StageState) -> set[StageState]:
    found: set[StageState] = set()
    waiting = [target]
    while waiting:
        state = waiting.pop()
        if state not in found:
            found.add(state)
            waiting += [*state.needs, *([state.base] if state.base else [])]
    return found


async def resolve_stages(conversion: Conversion, target: StageState) -> set[StageState]:
    """Look up the images that needed stages stand on; their triggers may make more stages needed."""
    while True:
        needed = set(conversion.states.all) if conversion.wants_all_stages else reachable(target)
        waiting = [state for state in conversion.states.all if state in needed and not state.is_resolved]
        await _resolve_all(conversion, waiting)
        has_more = [_read_triggers(conversion, state) for state in conversion.states.all if state in needed]
        if not any(has_more):
            return needed


async def _resolve_all(conversion: Conversion, states: list[StageState]) -> None:
    tasks = []
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_resolve(conversion, state)) for state in states if state.base is None]
    except ExceptionGroup as raised:
        # Which of several fails first is chance; the one that stands first is told.
        failed = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        raise next((error for error in failed if error is not None), raised.exceptions[0]) from None


async def _resolve(conversion: Conversion, state: StageState) -> None:
    state.is_resolved = True
    with located(state.start.location):
        if state.context is None and state.base_name == SCRATCH:
            state.image = empty_image(conversion.target_platform)
            state.platform = conversion.target_platform
        elif state.context is not None:
            await _resolve_context(conversion, state, conversion.target_platform)
            state.is_done = True
        else:
            await _resolve_image(conversion, state)
    if not state.is_listed:
        state.is_done = True


async def _resolve_image(conversion: Conversion, state: StageState) -> None:
    name = state.base_name
    try:
        reference = references.parse(name).with_default_tag()
    except InvalidArgument as error:
        raise InvalidArgument(f"failed to parse stage name {go_quote(name)}: {error}") from error
    platform = state.platform or conversion.target_platform
    if context := conversion.sources.named(str(reference), platform):
        state.context = context
        await _resolve_context(conversion, state, platform)
        return
    try:
        resolved = await conversion.bridge.resolve_image(str(reference), platform)
    except Error as error:
        hint = suggestion(name, [*conversion.states.names(), *_COMMON_IMAGES])
        raise DockerfileError(f"{name}: {error}{hint}", state.start.location) from error
    found = normalized(resolved.config.platform)
    if (found.os, found.architecture) != (platform.os, platform.architecture):
        conversion.checks.base_image_platform(state.start.location, name, str(platform), str(found))
    state.platform = platform
    state.image = _as_base(resolved.config)
    state.base_digest_ref = resolved.digest_ref
    state.base_image_id = digest_of(resolved.config_bytes)
    if has_layers(resolved.config):
        state.base_step_name = _named(conversion, state, f"FROM {resolved.digest_ref}")
        state.step = ImageSource(
            resolved.digest_ref, platform, locations=(state.start.location,), name=state.base_step_name
        )  # fmt: skip


async def _resolve_context(conversion: Conversion, state: StageState, platform: Platform) -> None:
    context = state.context
    assert context is not None, "only a stage that has one is resolved so"
    state.platform = state.platform or platform
    state.image = empty_image(state.platform)
    if context.scheme == "oci-layout":
        await _resolve_layout(conversion, state, state.platform)
        return
    if context.scheme != "docker-image":
        state.step = await conversion.sources.named_source(context)
        if config := conversion.sources.input_config(context):
            state.image = _as_base(config)
        conversion.pending_paths.setdefault(context.key, []).append(state)
        return
    if context.rest == SCRATCH:
        return
    reference = references.parse(context.rest).with_default_tag()
    resolved = await conversion.bridge.resolve_image(str(reference), state.platform)
    state.image = _as_base(resolved.config)
    state.platform = normalized(resolved.config.platform)
    state.base_digest_ref = resolved.digest_ref
    name = f"[context {context.key}] {context.rest}"
    state.step = ImageSource(resolved.digest_ref, state.platform, name=name)


async def _resolve_layout(conversion: Conversion, state: StageState, platform: Platform) -> None:
    """Look an image up that the client has in a directory; the context's name stands for the image's."""
    context = state.context
    assert context is not None, "only a stage that has one is resolved so"
    named, layout = conversion.sources.named_layout(context)
    resolved = await conversion.bridge.resolve_image(named, platform, layout=layout)
    state.image = _as_base(resolved.config)
    state.platform = normalized(resolved.config.platform)
    state.base_digest_ref = resolved.digest_ref
    name = f"[context {context.key}] OCI load from client"
    state.step = ImageSource(resolved.digest_ref, platform, layout, name=name)


def _named(conversion: Conversion, state: StageState, text: str) -> str:
    return prefixed(state, text, shows_platform=conversion.options.is_multi_platform, environment={})


def _as_base(config: ImageConfig) -> ImageConfig:
    image = copied(config)
    image.created = image.container = image.container_config = image.docker_version = image.comment = None
    return image


def has_layers(config: ImageConfig) -> bool:
    return bool(config.diff_ids) or any(not entry.empty_layer for entry in config.history or ())


def _read_triggers(conversion: Conversion, state: StageState) -> bool:
    """Put what the base has for its users (ONBUILD) in front; tell whether more stages are needed by it."""
    if state.has_read_onbuild:
        return False
    state.has_read_onbuild = True
    triggers: list[str] = []
    if state.base is None:
        triggers += state.config.on_build or []
        state.config.on_build = None
    else:
        commands = state.base.commands
        triggers += [
            command.instruction.trigger for command in commands if isinstance(command.instruction, typed.Onbuild)
        ]
    commands = [_triggered(conversion, state, trigger) for trigger in triggers]
    state.commands = [*commands, *state.commands]
    state.command_total += len(commands)
    return any(source is not None for command in commands for source in command.sources)


def _triggered(conversion: Conversion, state: StageState, trigger: str) -> Command:
    with located(state.start.location):
        nodes = parse(trigger).nodes
        if len(nodes) != 1:
            raise InvalidArgument("onbuild trigger should be a single expression")
        nodes[0].location = state.start.location
        command = _command(conversion, state, interpret(nodes[0], conversion.no_checks))
    command.is_onbuild = True
    return command
