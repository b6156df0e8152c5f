"""RUN: its command line, its heredocs and its mounts, as one step."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ...errors import InvalidArgument
from ..graph import (
    PROXY_VARIABLES,
    BindMount,
    CacheMount,
    InlineFile,
    Mount,
    Run,
    SecretMount,
    SshMount,
    Step,
    TmpfsMount,
    WriteFiles,
)
from ..patterns import clean
from . import instructions as typed
from .heredocs import heredoc_or_none
from .mounts import MountOption
from .naming import prefixed, shown, summary
from .pending import CONTEXT
from .quoting import go_list, go_quote
from .shellwords import Lexer
from .state import Command, StageState

if TYPE_CHECKING:
    from .convert import Conversion

SHELL = ("/bin/sh", "-c")
_SCRIPTS = "/dev/pipes"


def run(
    conversion: Conversion,
    state: StageState,
    command: Command,
    instruction: typed.Run,
    mounts: Sequence[MountOption],
) -> None:
    """Raises InvalidArgument."""
    state.paths.add("/")
    arguments, text, script = _command_line(instruction)
    if instruction.needs_shell:
        arguments = [*(state.config.shell or SHELL), " ".join(arguments)]
    environment = dict(state.environment)
    masked = environment | {mount.env: "****" for mount in mounts if mount.type == "secret" and mount.env}
    lexer = Lexer(conversion.lexer.escape, keeps_quotes=True, keeps_unset=True)
    name = prefixed(
        state, shown(text, lexer, masked), shows_platform=conversion.options.is_multi_platform,
        environment=environment, is_onbuild=command.is_onbuild,
    )  # fmt: skip
    state.step = Run(
        state.step,
        tuple(arguments),
        tuple(_variables(environment, conversion.options.build_args)),
        state.cwd,
        state.config.user or "",
        state.known_platform,
        mounts=(*script, *_mounts(conversion, state, command, mounts)),
        network=conversion.options.network if instruction.network == "default" else instruction.network,
        is_insecure=instruction.is_insecure,
        devices=instruction.devices,
        hostname=conversion.options.hostname,
        extra_hosts=conversion.options.extra_hosts,
        limits=conversion.options.limits,
        name=name,
        locations=(instruction.location,),
        is_cacheless=state.is_cacheless,
    )
    state.note(f"RUN {_with_arguments(arguments, state)} # buildkit", has_layer=True)


def _command_line(instruction: typed.Run) -> tuple[list[str], str, tuple[Mount, ...]]:
    """Return the arguments, how the instruction is shown, and the mount of a script that stands in a heredoc."""
    arguments, documents = list(instruction.arguments), instruction.documents
    if not documents:
        return arguments, instruction.source, ()
    if len(arguments) != 1 or not instruction.needs_shell:
        raise InvalidArgument(f"parsing produced an invalid run command: {go_list(arguments)}")
    if not heredoc_or_none(arguments[0]):
        whole = arguments[0] + "".join(f"\n{document.content}{document.name}" for document in documents)
        return [whole], instruction.source, ()
    first = documents[0]
    text = f"{instruction.source} ({summary(first.content)})"
    if not first.text.startswith("#!"):
        return [first.text], text, ()
    script = WriteFiles(
        None, (InlineFile(first.name, first.text),), "/", mode="0755", name="[internal] preparing inline document"
    )  # fmt: skip
    return [posixpath.join(_SCRIPTS, first.name)], text, (BindMount(f"{_SCRIPTS}/", script),)


def _variables(environment: Mapping[str, str], build_args: Mapping[str, str]) -> Iterator[str]:
    yield from (f"{name}={value}" for name, value in environment.items())
    for name in sorted(build_args):
        if name.lower() in PROXY_VARIABLES:
            for spelled in (name.upper(), name.lower()):
                if spelled not in environment:
                    yield f"{spelled}={build_args[name]}"


def _with_arguments(arguments: Sequence[str], state: StageState) -> str:
    """Return the command with the build arguments that it saw, as histories have it."""
    seen = [f"{name}={state.environment.get(name, value)}" for name, value in state.build_arguments.items()]
    return " ".join([*([f"|{len(seen)}"] if seen else []), *seen, *arguments])


def _mounts(
    conversion: Conversion, state: StageState, command: Command, options: Sequence[MountOption]
) -> Iterator[Mount]:
    for option, source in zip(options, command.sources, strict=True):
        if option.type == "secret":
            yield _secret(state, command, option)
        elif option.type == "ssh":
            yield _ssh(state, command, option)
        elif option.type == "tmpfs":
            yield TmpfsMount(_target(state, option), option.size_bytes)
        else:
            yield _directory(conversion, state, option, source)


def _directory(
    conversion: Conversion, state: StageState, option: MountOption, source: StageState | None
) -> BindMount | CacheMount:
    target = _target(state, option)
    step: Step | None = None
    path = clean(posixpath.join("/", option.source.lstrip("/")))
    if source is not None:
        if not source.is_done:
            raise InvalidArgument(
                f"cannot mount from stage {go_quote(option.from_)} to {go_quote(option.target)},"
                " stage needs to be defined before current command"
            )
        step = source.step
        source.paths.add(path)
    elif option.type == "bind":
        step = CONTEXT
        state.context_paths.add(path)
    if option.type == "bind":
        return BindMount(target, step, path, bool(option.is_readonly))
    return CacheMount(
        target,
        f"{conversion.options.cache_namespace}/{option.id or clean(option.target)}",
        option.sharing or "shared",
        step,
        path,
        0o755 if option.mode is None else option.mode,
        option.uid or 0,
        option.gid or 0,
        bool(option.is_readonly),
    )


def _target(state: StageState, option: MountOption) -> str:
    target = option.target
    if not clean(target).startswith("/"):
        target = clean(posixpath.join("/", state.cwd, target))
    if target == "/":
        raise InvalidArgument(f"invalid mount target {go_quote(target)}")
    return target


def _secret(state: StageState, command: Command, option: MountOption) -> SecretMount:
    id = option.source or option.id or posixpath.basename(option.target)
    target = option.target
    if option.env is None and not target:
        target = f"/run/secrets/{posixpath.basename(id)}"
    state.asked.secrets.setdefault(id, (option.is_required, command.instruction.location))
    mode = 0o400 if option.mode is None else option.mode
    return SecretMount(
        id, target, option.env or "", mode, option.uid or 0, option.gid or 0, option.is_required
    )  # fmt: skip


def _ssh(state: StageState, command: Command, option: MountOption) -> SshMount:
    if option.source:
        raise InvalidArgument("ssh does not support source")
    id = option.id or "default"
    state.asked.ssh.setdefault(id, (option.is_required, command.instruction.location))
    mode = 0o600 if option.mode is None else option.mode
    return SshMount(id, option.target, mode, option.uid or 0, option.gid or 0, option.is_required)
