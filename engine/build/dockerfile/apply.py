"""What each instruction does to its stage, but for those that make steps of files and commands.

Wording of the history is BuildKit's.
"""

from __future__ import annotations

import posixpath
from dataclasses import replace
from typing import TYPE_CHECKING

from ...containers.signals import parse as parse_signal
from ...errors import InvalidArgument
from ...images.config import Health
from ...times import go_duration
from ..graph import MakeDirectory
from . import instructions as typed
from .checks import Checks
from .mounts import parse_mount
from .naming import prefixed, shown
from .ports import exposed_ports
from .quoting import go_list, go_quoted_list
from .running import SHELL, run
from .shellwords import Lexer
from .state import Command, StageState
from .transfer import owner_of, transfer

if TYPE_CHECKING:
    from .convert import Conversion

_DOCUMENT = Lexer(ignores_quotes=True)


def apply(conversion: Conversion, state: StageState, command: Command) -> None:
    """Raises InvalidArgument."""
    checks = conversion.checks.merged_with(command.instruction.comments)
    instruction = command.instruction.expanded(lambda word: _expanded(conversion.lexer, state, command, word, checks))
    if isinstance(instruction, typed.Transfer):
        documents = tuple(
            document.with_content(_expanded(_DOCUMENT, state, command, document.text, checks))
            if document.expands
            else document.with_content(document.text)
            for document in instruction.documents
        )
        transfer(conversion, state, command, replace(instruction, documents=documents), checks)
    elif isinstance(instruction, typed.Run):
        mounts = [
            parse_mount(mount, lambda word: _expanded(conversion.lexer, state, command, word, checks))
            for mount in instruction.mounts
        ]
        run(conversion, state, command, instruction, mounts)
    elif isinstance(instruction, typed.Workdir):
        _workdir(conversion, state, command, instruction, checks)
    elif isinstance(instruction, typed.Arg):
        _arg(conversion, state, command, instruction, checks)
    elif isinstance(instruction, typed.Command):
        _command(state, instruction, checks)
    elif isinstance(instruction, typed.Expose):
        words = [word for port in instruction.ports for word in conversion.lexer.expand(port, state.environment).words]
        ports = exposed_ports(words, instruction.location, checks)
        state.config.exposed_ports = (state.config.exposed_ports or {}) | {port: {} for port in ports}
        state.note(f"EXPOSE {go_list(ports)}")
    else:
        _configure(state, instruction, checks)


def _expanded(lexer: Lexer, state: StageState, command: Command, word: str, checks: Checks) -> str:
    expanded = lexer.expand(word, state.environment)
    unknown = expanded.unmatched - set(state.build_arguments)
    checks.undefined_vars(command.instruction.location, unknown, state.environment)
    return expanded.text


def _configure(state: StageState, instruction: typed.Instruction, checks: Checks) -> None:
    """The instructions that alter the image's configuration alone."""
    if isinstance(instruction, typed.Env):
        _pairs(state, instruction, checks)
    elif isinstance(instruction, typed.Maintainer):
        state.image.author = instruction.author
        state.note(f"MAINTAINER {instruction.author}")
    elif isinstance(instruction, typed.Onbuild):
        state.config.on_build = [*(state.config.on_build or []), instruction.trigger]
    elif isinstance(instruction, typed.Healthcheck):
        _once(state, instruction, checks)
        state.config.healthcheck = instruction.health
        state.note(f"HEALTHCHECK {_shown_health(instruction.health)}")
    elif isinstance(instruction, typed.User):
        state.config.user = instruction.user
        state.note(f"USER {instruction.user}")
    elif isinstance(instruction, typed.Volume):
        if not all(instruction.paths):
            raise InvalidArgument("VOLUME specified can not be an empty string")
        state.config.volumes = (state.config.volumes or {}) | {path: {} for path in instruction.paths}
        state.note(f"VOLUME {go_list(instruction.paths)}")
    elif isinstance(instruction, typed.Stopsignal):
        parse_signal(instruction.signal)
        state.config.stop_signal = instruction.signal
        state.note(f"STOPSIGNAL {instruction.signal}")
    elif isinstance(instruction, typed.Shell):
        state.config.shell = list(instruction.shell)
        state.note(f"SHELL {go_list(instruction.shell)}")


def _pairs(state: StageState, instruction: typed.Env, checks: Checks) -> None:
    verb = "LABEL" if isinstance(instruction, typed.Label) else "ENV"
    for pair in instruction.pairs:
        if pair.is_old:
            checks.legacy_key_value(instruction.location, instruction.name)
        if verb == "ENV":
            checks.secret_name(instruction.location, verb, pair.name)
            state.set_variable(pair.name, pair.value)
    if verb == "ENV":
        state.config.env = typed.with_variables(state.config.env or [], instruction.pairs)
    else:
        labels = {pair.name: pair.value for pair in instruction.pairs}
        state.config.labels = (state.config.labels or {}) | labels
    state.note(" ".join([verb, *map(str, instruction.pairs)]))


def _once(state: StageState, instruction: typed.Instruction, checks: Checks) -> None:
    kind = type(instruction).__name__
    if kind in state.last_locations:
        checks.multiple_instructions(state.last_locations[kind], instruction.name)
    state.last_locations[kind] = instruction.location


def _command(state: StageState, instruction: typed.Command, checks: Checks) -> None:
    _once(state, instruction, checks)
    arguments = list(instruction.arguments)
    if instruction.needs_shell:
        if not state.config.shell:
            checks.json_args_recommended(instruction.location, instruction.name)
        arguments = [*(state.config.shell or SHELL), " ".join(arguments)]
    if isinstance(instruction, typed.Cmd):
        state.config.cmd = arguments
        state.config.args_escaped = True
        state.note(f"CMD {go_quoted_list(arguments)}")
        return
    state.config.entrypoint = arguments or None
    if "Cmd" not in state.last_locations:
        state.config.cmd = None
    state.note(f"ENTRYPOINT {go_quoted_list(arguments)}")


def _workdir(
    conversion: Conversion, state: StageState, command: Command, instruction: typed.Workdir, checks: Checks
) -> None:
    if not state.has_workdir and not instruction.path.startswith("/"):
        checks.workdir_relative_path(instruction.location, instruction.path)
    state.has_workdir = True
    path = posixpath.normpath(posixpath.join("/", state.config.working_dir or "/", instruction.path or "."))
    path = f"/{path.lstrip('/')}"
    state.config.working_dir = state.cwd = path
    if path != "/":
        owner = owner_of(state.config.user) if state.config.user else None
        text = shown(instruction.source, conversion.lexer, state.environment)
        name = prefixed(
            state, text, shows_platform=conversion.options.is_multi_platform, environment=state.environment,
            is_onbuild=command.is_onbuild,
        )  # fmt: skip
        state.step = MakeDirectory(
            state.step, path, owner, conversion.epoch, name=name, locations=(instruction.location,),
            is_cacheless=state.is_cacheless,
        )  # fmt: skip
    state.note(f"WORKDIR {path}", has_layer=path != "/")


def _arg(conversion: Conversion, state: StageState, command: Command, instruction: typed.Arg, checks: Checks) -> None:
    shown_arguments = []
    for argument in instruction.arguments:
        checks.secret_name(instruction.location, "ARG", argument.name)
        given = conversion.options.build_args.get(argument.name)
        is_inherited = given is None and argument.value is None and argument.name in conversion.global_arguments
        value = conversion.global_arguments[argument.name] if is_inherited else given
        if value is None and argument.value is not None:
            value = _expanded(conversion.lexer, state, command, argument.value, checks)
        if value is not None:
            state.set_variable(argument.name, value)
        state.ask(argument, value, instruction.location, is_inherited=is_inherited)
        state.build_arguments[argument.name] = value or ""
        shown_arguments.append(argument.name if value is None else f"{argument.name}={value}")
    state.note(f"ARG {' '.join(shown_arguments)}")


def _shown_health(health: Health) -> str:
    times = {
        "Interval": health.interval,
        "Timeout": health.timeout,
        "StartPeriod": health.start_period,
        "StartInterval": health.start_interval,
    }
    fields = " ".join(f"{name}:{go_duration(value)}" for name, value in times.items())
    return f"{{Test:{go_list(health.test or [])} {fields} Retries:{health.retries}}}"
