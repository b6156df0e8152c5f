"""The `changes` of import and commit: Dockerfile instructions that alter an image's config.

Read by the Dockerfile frontend's parser, applied and worded as dockerd does (moby `daemon/builder/dockerfile`), for
those instructions that it accepts here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec

from ..build.dockerfile import instructions as typed
from ..build.dockerfile.checks import Checks, Choice
from ..build.dockerfile.interpret import interpret
from ..build.dockerfile.parser import parse
from ..build.dockerfile.shellwords import Lexer
from ..containers.signals import parse as parse_signal
from ..errors import InvalidArgument
from ..numbers import natural
from .config import RunConfig

_SHELL = ("/bin/sh", "-c")
_PROTOCOLS = ("tcp", "udp", "sctp")
_ALLOWED = (
    "cmd", "entrypoint", "env", "expose", "healthcheck", "label", "onbuild", "stopsignal", "user", "volume", "workdir",
)  # fmt: skip


def apply_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """Return the config as the instructions leave it. Raises InvalidArgument with dockerd's text."""
    if not changes:
        return config
    parsed = parse("\n".join(changes))
    instructions = []
    no_checks = Checks(Choice(), lambda finding: None)
    for node in parsed.nodes:
        if node.name.lower() not in _ALLOWED:
            raise InvalidArgument(f"{node.name} is not a valid change command")
        instructions.append(interpret(node, no_checks))
    changed = _Changed(msgspec.json.decode(msgspec.json.encode(config), type=RunConfig), Lexer(parsed.escape))
    for instruction in instructions:
        changed.apply(instruction)
    return changed.config


class _Changed:
    """A config under change."""

    def __init__(self, config: RunConfig, lexer: Lexer) -> None:
        self.config, self._lexer = config, lexer
        self._has_set_cmd = False

    def apply(self, instruction: typed.Instruction) -> None:
        """Variables are replaced by what they were before this instruction."""
        environment = self._environment()
        instruction = instruction.expanded(lambda word: self._lexer.expand(word, environment).text)
        if isinstance(instruction, typed.Label):
            self.config.labels = (self.config.labels or {}) | {pair.name: pair.value for pair in instruction.pairs}
        elif isinstance(instruction, typed.Env):
            self.config.env = typed.with_variables(self.config.env or [], instruction.pairs)
        elif isinstance(instruction, typed.Command):
            self._set_command(instruction)
        elif isinstance(instruction, typed.Expose):
            words = [word for port in instruction.ports for word in self._lexer.expand(port, environment).words]
            ports = {port: dict[str, str]() for word in words for port in _ports(word)}
            self.config.exposed_ports = (self.config.exposed_ports or {}) | ports
        elif isinstance(instruction, typed.Healthcheck):
            self.config.healthcheck = instruction.health
        elif isinstance(instruction, typed.Onbuild):
            self.config.on_build = [*(self.config.on_build or []), instruction.trigger]
        else:
            self._set_word(instruction)

    def _set_word(self, instruction: typed.Instruction) -> None:
        if isinstance(instruction, typed.Stopsignal):
            parse_signal(instruction.signal)
            self.config.stop_signal = instruction.signal
        elif isinstance(instruction, typed.User):
            self.config.user = instruction.user
        elif isinstance(instruction, typed.Volume):
            if not all(instruction.paths):
                raise InvalidArgument("VOLUME specified can not be an empty string")
            self.config.volumes = (self.config.volumes or {}) | {path: {} for path in instruction.paths}
        elif isinstance(instruction, typed.Workdir):
            if not instruction.path:
                raise InvalidArgument("cannot normalize nothing")
            joined = posixpath.join("/", self.config.working_dir or "", instruction.path)
            self.config.working_dir = "/" + posixpath.normpath(joined).lstrip("/")

    def _set_command(self, instruction: typed.Command) -> None:
        shell = _SHELL if instruction.needs_shell else ()
        command = [*shell, *instruction.arguments]
        if isinstance(instruction, typed.Cmd):
            self.config.cmd = command
            self._has_set_cmd = self._has_set_cmd or bool(instruction.arguments)
            return
        self.config.entrypoint = command if instruction.arguments else None
        if not self._has_set_cmd:
            self.config.cmd = None

    def _environment(self) -> dict[str, str]:
        pairs = (variable.partition("=") for variable in self.config.env or [])
        return {name: value for name, _, value in pairs}


def _ports(spec: str) -> list[str]:
    """Return the ports of `[ip:][host:]port[-last][/protocol]`, of which only the container's matter to an image."""
    port, _, protocol = spec.rpartition(":")[2].partition("/")
    if not port:
        raise InvalidArgument(f"No port specified: {spec}<empty>")
    protocol = (protocol or "tcp").lower()
    if protocol not in _PROTOCOLS:
        raise InvalidArgument(f"Invalid proto: {protocol}")
    first, separator, last = port.partition("-")
    low, high = natural(first, below=1 << 16), natural(last if separator else first, below=1 << 16)
    if low is None or high is None or low > high:
        raise InvalidArgument(f"Invalid containerPort: {port}")
    return [f"{number}/{protocol}" for number in range(low, high + 1)]
