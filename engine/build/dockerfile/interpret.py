"""From parsed lines to typed instructions and stages. Rules and error texts are those of BuildKit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypedDict

from ...errors import InvalidArgument
from ...images.config import Health
from ...times import parse_duration
from ..graph import Location
from . import instructions as typed
from .checks import Checks
from .devices import parse_device
from .errors import DockerfileError, located
from .flags import Flags, parse_flags
from .heredocs import Heredoc, heredoc_or_none
from .mounts import check_early
from .parser import NAMES, Node
from .quoting import go_quote
from .suggestions import suggestion

_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")
_ONBUILD = re.compile(r"^\s*ONBUILD\s*", re.IGNORECASE)
_HEALTH_TIMES = ("interval", "timeout", "start-period", "start-interval")
_MILLISECOND_NS = 1_000_000


def stages(nodes: Sequence[Node], checks: Checks) -> tuple[list[typed.Stage], list[typed.Arg]]:
    """Return the stages, and the ARGs in front of the first. Raises DockerfileError."""
    found: list[typed.Stage] = []
    global_args: list[typed.Arg] = []
    for node in nodes:
        with located(node.location, prefix=f"dockerfile parse error on line {node.location.first}: "):
            instruction = interpret(node, checks)
        if isinstance(instruction, typed.From):
            found.append(typed.Stage(instruction))
        elif found:
            found[-1].instructions.append(instruction)
        elif isinstance(instruction, typed.Arg):
            global_args.append(instruction)
        else:
            raise DockerfileError("no build stage in current context", node.location)
    return found, global_args


def interpret(node: Node, checks: Checks) -> typed.Instruction:
    """Raises InvalidArgument."""
    reader = _READERS.get(node.name.lower())
    if reader is None:
        hint = suggestion(node.name, NAMES, ignores_case=True)
        raise InvalidArgument(f"unknown instruction: {node.name}{hint}")
    instruction = reader(node)
    _check(node, instruction, checks.merged_with(node.comments))
    return instruction


class _Common(TypedDict):
    name: str
    source: str
    location: Location
    comments: tuple[str, ...]


def _common(node: Node) -> _Common:
    comments = tuple(node.comments)
    return {"name": node.name, "source": node.original.strip(), "location": node.location, "comments": comments}


def _check(node: Node, instruction: typed.Instruction, checks: Checks) -> None:
    if isinstance(instruction, typed.Maintainer):
        checks.maintainer_deprecated(node.location)
    elif isinstance(instruction, typed.From):
        if len(node.arguments) == 3:
            checks.stage_name_casing(node.location, node.arguments[2])
            checks.from_as_casing(node.location, node.name, node.arguments[1])
        if instruction.stage:
            checks.definition_description(node.location, "FROM", [instruction.stage], node.comments)
    elif isinstance(instruction, typed.Arg):
        names = [argument.name for argument in instruction.arguments]
        checks.definition_description(node.location, "ARG", names, node.comments)


def _at_least_one(node: Node) -> None:
    if not node.arguments:
        raise InvalidArgument(f"{node.name.upper()} requires at least one argument")


def _exactly_one(node: Node) -> str:
    if len(node.arguments) != 1:
        raise InvalidArgument(f"{node.name.upper()} requires exactly one argument")
    return node.arguments[0]


def _pairs(node: Node) -> tuple[typed.Pair, ...]:
    parse_flags(node.flags)
    if not node.pairs:
        raise InvalidArgument(f"{node.name.upper()} requires at least one argument")
    if not all(name for name, _, _ in node.pairs):
        raise InvalidArgument(f"{node.name.upper()} names can not be blank")
    return tuple(typed.Pair(name, value, is_old) for name, value, is_old in node.pairs)


def _env(node: Node) -> typed.Env:
    return typed.Env(pairs=_pairs(node), **_common(node))


def _label(node: Node) -> typed.Label:
    return typed.Label(pairs=_pairs(node), **_common(node))


def _maintainer(node: Node) -> typed.Maintainer:
    author = _exactly_one(node)
    parse_flags(node.flags)
    return typed.Maintainer(author=author, **_common(node))


def _sources(node: Node) -> tuple[tuple[str, ...], tuple[Heredoc, ...], str]:
    """Return the sources that are paths, those that are heredocs, and the destination."""
    *sources, destination = node.arguments
    if heredoc_or_none(destination):
        raise InvalidArgument(f"{node.name.upper()} cannot accept a heredoc as a destination")
    contents = {heredoc.name: heredoc.content for heredoc in node.heredocs}
    found = [(source, heredoc_or_none(source)) for source in sources]
    documents = [heredoc.with_content(contents.get(heredoc.name, "")) for _, heredoc in found if heredoc]
    return tuple(source for source, heredoc in found if not heredoc), tuple(documents), destination


def _check_destination(node: Node) -> None:
    if len(node.arguments) < 2:
        raise InvalidArgument(
            f"{node.name.upper()} requires at least two arguments, but only one was provided."
            " Destination could not be determined"
        )


def _add(node: Node) -> typed.Add:
    _check_destination(node)
    flags = parse_flags(
        node.flags,
        booleans=("link", "keep-git-dir", "unpack"),
        texts=("chown", "chmod", "checksum"),
        lists=("exclude",),
    )
    paths, documents, destination = _sources(node)
    return typed.Add(
        paths=paths, documents=documents, destination=destination,
        chown=flags.text("chown"), chmod=flags.text("chmod"), checksum=flags.text("checksum"),
        is_link=flags.booleans.get("link", False), exclude=flags.all("exclude"),
        keeps_git_dir=flags.booleans.get("keep-git-dir"), unpacks=flags.booleans.get("unpack"),
        **_common(node),
    )  # fmt: skip


def _copy(node: Node) -> typed.Copy:
    _check_destination(node)
    flags = parse_flags(
        node.flags, booleans=("link", "parents"), texts=("chown", "from", "chmod"), lists=("exclude",)
    )  # fmt: skip
    paths, documents, destination = _sources(node)
    return typed.Copy(
        paths=paths, documents=documents, destination=destination, from_=flags.text("from"),
        chown=flags.text("chown"), chmod=flags.text("chmod"), is_link=flags.booleans.get("link", False),
        exclude=flags.all("exclude"), keeps_parents=flags.booleans.get("parents", False),
        **_common(node),
    )  # fmt: skip


def _from(node: Node) -> typed.From:
    stage = ""
    if len(node.arguments) == 3 and node.arguments[1].lower() == "as":
        stage = node.arguments[2].lower()
        if not _STAGE_NAME.fullmatch(stage):
            raise InvalidArgument(
                f"invalid name for build stage: {go_quote(node.arguments[2])},"
                " name can't start with a number or contain symbols"
            )
    elif len(node.arguments) != 1:
        raise InvalidArgument("FROM requires either one or three arguments")
    platform = parse_flags(node.flags, texts=("platform",)).text("platform")
    description = _description(node.comments, stage)
    return typed.From(
        base=node.arguments[0], stage=stage, platform=platform, description=description, **_common(node)
    )  # fmt: skip


def _description(comments: Sequence[str], name: str) -> str:
    lines = (line.removeprefix(f"{name} ") for line in comments if name and line.startswith(f"{name} "))
    return next(lines, "")


def _onbuild(node: Node) -> typed.Onbuild:
    if node.child is None:
        raise InvalidArgument("ONBUILD requires at least one argument")
    parse_flags(node.flags)
    name = node.child.name.upper()
    if name == "ONBUILD":
        raise InvalidArgument("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if name in ("MAINTAINER", "FROM"):
        raise InvalidArgument(f"{name} isn't allowed as an ONBUILD trigger")
    trigger = _ONBUILD.sub("", node.original)
    trigger += "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in node.heredocs)
    return typed.Onbuild(trigger=trigger, **_common(node))


def _workdir(node: Node) -> typed.Workdir:
    path = _exactly_one(node)
    parse_flags(node.flags)
    return typed.Workdir(path=path, **_common(node))


def _run(node: Node) -> typed.Run:
    flags = parse_flags(node.flags, texts=("network", "security"), lists=("mount", "device"))
    network = flags.texts.get("network", "default")
    if network not in ("default", "none", "host"):
        raise InvalidArgument(f"invalid network mode {go_quote(network)}")
    security = flags.texts.get("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        raise InvalidArgument(f"security {go_quote(security)} is not valid")
    for mount in flags.all("mount"):
        check_early(mount)
    return typed.Run(
        arguments=tuple(node.arguments), needs_shell=not node.is_json, documents=tuple(node.heredocs),
        mounts=flags.all("mount"), network=network, is_insecure=security == "insecure",
        devices=tuple(parse_device(device) for device in flags.all("device")),
        **_common(node),
    )  # fmt: skip


def _cmd(node: Node) -> typed.Cmd:
    parse_flags(node.flags)
    return typed.Cmd(arguments=tuple(node.arguments), needs_shell=not node.is_json, **_common(node))


def _entrypoint(node: Node) -> typed.Entrypoint:
    parse_flags(node.flags)
    return typed.Entrypoint(arguments=tuple(node.arguments), needs_shell=not node.is_json, **_common(node))


def _healthcheck(node: Node) -> typed.Healthcheck:
    _at_least_one(node)
    kind, *arguments = node.arguments
    kind = kind.upper()
    if kind == "NONE":
        if arguments:
            raise InvalidArgument("HEALTHCHECK NONE takes no arguments")
        return typed.Healthcheck(health=Health(test=["NONE"]), **_common(node))
    flags = parse_flags(node.flags, texts=(*_HEALTH_TIMES, "retries"))
    if kind != "CMD":
        raise InvalidArgument(f"Unknown type {go_quote(kind)} in HEALTHCHECK (try CMD)")
    if not arguments:
        raise InvalidArgument("Missing command after HEALTHCHECK CMD")
    health = Health(test=["CMD" if node.is_json else "CMD-SHELL", *arguments])
    for name in _HEALTH_TIMES:
        setattr(health, name.replace("-", "_"), _interval(name, flags))
    health.retries = _retries(flags.text("retries"))
    return typed.Healthcheck(health=health, **_common(node))


def _interval(name: str, flags: Flags) -> int:
    value = flags.text(name)
    if not value:
        return 0
    try:
        duration = parse_duration(value) if value != "0" else 0
    except ValueError:
        problem = "missing unit in" if re.fullmatch(r"[-+]?[\d.]+", value) else "invalid"
        raise InvalidArgument(f"time: {problem} duration {go_quote(value)}") from None
    if duration and duration < _MILLISECOND_NS:
        raise InvalidArgument(f"Interval {go_quote(name)} cannot be less than 1ms")
    return duration


def _retries(value: str) -> int:
    try:
        retries = int(value or "0")
    except ValueError:
        raise InvalidArgument(f"strconv.ParseInt: parsing {go_quote(value)}: invalid syntax") from None
    if not -(1 << 31) <= retries < 1 << 31:
        raise InvalidArgument(f"strconv.ParseInt: parsing {go_quote(value)}: value out of range")
    if retries < 0:
        raise InvalidArgument(f"--retries cannot be negative ({retries})")
    return retries


def _expose(node: Node) -> typed.Expose:
    _at_least_one(node)
    parse_flags(node.flags)
    return typed.Expose(ports=tuple(sorted(node.arguments)), **_common(node))


def _user(node: Node) -> typed.User:
    user = _exactly_one(node)
    parse_flags(node.flags)
    return typed.User(user=user, **_common(node))


def _volume(node: Node) -> typed.Volume:
    _at_least_one(node)
    parse_flags(node.flags)
    paths = tuple(path.strip() for path in node.arguments)
    if not all(paths):
        raise InvalidArgument("VOLUME specified can not be an empty string")
    return typed.Volume(paths=paths, **_common(node))


def _stopsignal(node: Node) -> typed.Stopsignal:
    return typed.Stopsignal(signal=_exactly_one(node), **_common(node))


def _arg(node: Node) -> typed.Arg:
    _at_least_one(node)
    arguments = []
    for word in node.arguments:
        name, separator, value = word.partition("=")
        if separator and not name:
            raise InvalidArgument("ARG names can not be blank")
        description = _description(node.comments, name)
        arguments.append(typed.Argument(name, value if separator else None, description))
    return typed.Arg(arguments=tuple(arguments), **_common(node))


def _shell(node: Node) -> typed.Shell:
    parse_flags(node.flags)
    _at_least_one(node)
    if not node.is_json:
        raise InvalidArgument("SHELL requires the arguments to be in JSON form")
    return typed.Shell(shell=tuple(node.arguments), **_common(node))


_READERS: dict[str, Callable[[Node], typed.Instruction]] = {
    "add": _add,
    "arg": _arg,
    "cmd": _cmd,
    "copy": _copy,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "from": _from,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _onbuild,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stopsignal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
