"""What stands in a Dockerfile, typed: one class an instruction, and the stages that they form.

Words are as written; `expanded` returns an instruction with its variables replaced, where it has words in which they
are. `interpret` makes these, `convert` gives them their meaning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ...images.config import Health
from ..graph import Location
from .heredocs import Heredoc

Expand = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """`name` is as written, `source` its logical line, `comments` what stands right above."""

    name: str
    source: str
    location: Location
    comments: tuple[str, ...] = ()

    def expanded(self, expand: Expand) -> Instruction:
        return self


@dataclass(frozen=True, slots=True)
class Pair:
    """`is_old` tells the form with a space in place of the sign."""

    name: str
    value: str
    is_old: bool = False

    def __str__(self) -> str:
        return f"{self.name}={self.value}"

    def expanded(self, expand: Expand) -> Pair:
        return replace(self, name=expand(self.name), value=expand(self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Env(Instruction):
    pairs: tuple[Pair, ...]

    def expanded(self, expand: Expand) -> Env:
        return replace(self, pairs=tuple(pair.expanded(expand) for pair in self.pairs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Env):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintainer(Instruction):
    author: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(Instruction):
    """COPY and ADD. `documents` are the heredocs among the sources; `checksum` is ADD's alone."""

    paths: tuple[str, ...]
    documents: tuple[Heredoc, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    checksum: str = ""
    is_link: bool = False
    exclude: tuple[str, ...] = ()

    def expanded(self, expand: Expand) -> Transfer:
        return replace(
            self,
            chown=expand(self.chown),
            chmod=expand(self.chmod),
            checksum=expand(self.checksum),
            paths=tuple(map(expand, self.paths)),
            destination=expand(self.destination),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy(Transfer):
    from_: str = ""
    keeps_parents: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Add(Transfer):
    """Where `keeps_git_dir` and `unpacks` are None, nothing was said."""

    keeps_git_dir: bool | None = None
    unpacks: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Onbuild(Instruction):
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workdir(Instruction):
    path: str

    def expanded(self, expand: Expand) -> Workdir:
        return replace(self, path=expand(self.path))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Instruction):
    """What can be written as a list, or as text for a shell."""

    arguments: tuple[str, ...]
    needs_shell: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Command):
    """`mounts` are unparsed, as variables may stand in them; `devices` say whether they are required."""

    documents: tuple[Heredoc, ...] = ()
    mounts: tuple[str, ...] = ()
    network: str = "default"
    is_insecure: bool = False
    devices: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cmd(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrypoint(Command):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Healthcheck(Instruction):
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class Expose(Instruction):
    ports: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User(Instruction):
    user: str

    def expanded(self, expand: Expand) -> User:
        return replace(self, user=expand(self.user))


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume(Instruction):
    paths: tuple[str, ...]

    def expanded(self, expand: Expand) -> Volume:
        return replace(self, paths=tuple(map(expand, self.paths)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopsignal(Instruction):
    signal: str

    def expanded(self, expand: Expand) -> Stopsignal:
        return replace(self, signal=expand(self.signal))


@dataclass(frozen=True, slots=True)
class Argument:
    """A build argument; `value` is None where none is given."""

    name: str
    value: str | None
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arg(Instruction):
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell(Instruction):
    shell: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class From(Instruction):
    """`stage` is the stage's name, lower-case, or empty."""

    base: str
    stage: str = ""
    platform: str = ""
    description: str = ""


@dataclass(slots=True)
class Stage:
    start: From
    instructions: list[Instruction] = field(default_factory=list)


def with_variables(variables: Sequence[str], pairs: Sequence[Pair]) -> list[str]:
    """Return an image's environment with some variables set anew, each in its place."""
    result = list(variables)
    for pair in pairs:
        for index, variable in enumerate(result):
            if variable.partition("=")[0] == pair.name:
                result[index] = str(pair)
                break
        else:
            result.append(str(pair))
    return result
