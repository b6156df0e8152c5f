"""COPY and ADD as steps: one for each kind of source that an instruction has, almost always a single one."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ...errors import InvalidArgument
from ...images.references import check_digest
from ..graph import Copy, HttpSource, InlineFile, Owner, Step, WriteFiles
from ..patterns import clean
from . import instructions as typed
from .checks import Checks
from .giturl import GitUrl, parse_git_url
from .naming import prefixed, shown
from .pending import CONTEXT
from .quoting import go_quote
from .sources import git_source
from .state import Command, StageState

if TYPE_CHECKING:
    from .convert import Conversion

_SYMBOLIC_MODE = re.compile(r"[ugoa]*(?:[-+=][rwxXstugo]*)+(?:,[ugoa]*(?:[-+=][rwxXstugo]*)+)*")
_WHOLE_CONTEXT = ("*", "**", "**/*")


def owner_of(text: str) -> Owner:
    user, _, group = text.partition(":")
    return Owner(user, group)


def transfer(
    conversion: Conversion, state: StageState, command: Command, instruction: typed.Transfer, checks: Checks
) -> None:
    """Raises InvalidArgument."""
    _check(instruction)
    source = _source(command, instruction, state)
    text = shown(instruction.source, conversion.lexer, state.environment)
    name = prefixed(
        state, text, shows_platform=conversion.options.is_multi_platform, environment=state.environment,
        is_onbuild=command.is_onbuild,
    )  # fmt: skip
    into = _Into(conversion, state, instruction, name)
    local = [path for path in instruction.paths if not _is_remote(path)]
    for path in local:
        if source is CONTEXT:
            _check_ignored(conversion, instruction, path, checks)
    if local:
        into.copy(source, tuple(_local_path(instruction, path) for path in local), unpacks=_unpacks(instruction))
        used = state.context_paths if source is CONTEXT else _paths_of(command)
        used |= {clean(posixpath.join("/", path)) for path in local}
    for path in instruction.paths:
        if _is_remote(path):
            into.fetch(path)
    if instruction.documents:
        into.write()
    if not into.count:
        into.copy(source, (), unpacks=False)
    history = _history(instruction)
    for _ in range(into.count):
        state.note(history, has_layer=True)


class _Into:
    """Puts steps on top of a stage, all to one destination; `count` says how many."""

    def __init__(self, conversion: Conversion, state: StageState, instruction: typed.Transfer, name: str) -> None:
        self._conversion, self._state, self._instruction, self._name = conversion, state, instruction, name
        self._destination = _destination(state.cwd, instruction.destination)
        self._owner = owner_of(instruction.chown) if instruction.chown else None
        self.count = 0

    def copy(self, source: Step | None, paths: tuple[str, ...], *, unpacks: bool) -> None:
        instruction, state = self._instruction, self._state
        self.count += 1
        state.step = Copy(
            state.step,
            source,
            paths,
            self._destination,
            owner=self._owner,
            mode=instruction.chmod,
            exclude=instruction.exclude,
            keeps_parents=isinstance(instruction, typed.Copy) and instruction.keeps_parents,
            unpacks=unpacks,
            is_link=instruction.is_link,
            created_at=self._conversion.epoch,
            name=self._name,
            locations=(instruction.location,),
            is_cacheless=state.is_cacheless,
        )

    def write(self) -> None:
        instruction, state = self._instruction, self._state
        self.count += 1
        state.step = WriteFiles(
            state.step,
            tuple(InlineFile(document.name, document.content) for document in instruction.documents),
            self._destination,
            owner=self._owner,
            mode=instruction.chmod,
            is_link=instruction.is_link,
            created_at=self._conversion.epoch,
            name=self._name,
            locations=(instruction.location,),
            is_cacheless=state.is_cacheless,
        )

    def fetch(self, url: str) -> None:
        instruction = self._instruction
        verb = type(instruction).__name__.upper()
        git = _git(url)
        if not isinstance(instruction, typed.Add):
            raise InvalidArgument(f"source can't be a {'git ref' if git else 'URL'} for {verb}")
        if git:
            self._fetch_git(instruction, git)
            return
        filename = posixpath.basename(urlsplit(url).path) or "__unnamed__"
        if instruction.checksum:
            check_digest(instruction.checksum)
        source = HttpSource(
            url, instruction.checksum, filename, name=self._name, locations=(instruction.location,)
        )  # fmt: skip
        self.copy(source, (f"/{filename}",), unpacks=bool(instruction.unpacks))

    def _fetch_git(self, instruction: typed.Add, git: GitUrl) -> None:
        keeps = instruction.keeps_git_dir
        if keeps is not None and git.keeps_git_dir is not None and keeps != git.keeps_git_dir:
            raise InvalidArgument("inconsistent keep-git-dir configuration")
        checksum = instruction.checksum
        if checksum and git.checksum and checksum != git.checksum:
            raise InvalidArgument(f"checksum mismatch {go_quote(checksum)} != {go_quote(git.checksum)}")
        self.copy(git_source(git, self._name, keeps_git_dir=keeps, checksum=checksum), ("/",), unpacks=False)


def _check(instruction: typed.Transfer) -> None:
    mode = instruction.chmod
    is_octal = bool(re.fullmatch("[0-7]+", mode)) and int(mode, 8) <= 0o7777
    if mode and not is_octal and not _SYMBOLIC_MODE.fullmatch(mode):
        raise InvalidArgument(f"invalid chmod parameter: '{mode}'. it should be octal string and between 0 and 07777")
    if instruction.checksum:
        if len(instruction.paths) != 1:
            raise InvalidArgument("checksum can't be specified for multiple sources")
        if not _is_remote(instruction.paths[0]):
            raise InvalidArgument("checksum requires HTTP(S) or Git sources")


def _source(command: Command, instruction: typed.Transfer, state: StageState) -> Step | None:
    if not command.sources or command.sources[0] is None:
        return CONTEXT
    origin = command.sources[0]
    if not origin.is_done:
        from_ = instruction.from_ if isinstance(instruction, typed.Copy) else ""
        raise InvalidArgument(
            f"cannot copy from stage {go_quote(from_)}, it needs to be defined before current stage"
            f" {go_quote(state.name)}"
        )
    return origin.step


def _paths_of(command: Command) -> set[str]:
    origin = command.sources[0]
    assert origin is not None, "only what is copied from a stage comes here"
    return origin.paths


def _git(path: str) -> GitUrl | None:
    git = parse_git_url(path)
    return None if git is None or git.is_ambiguous else git


def _is_remote(path: str) -> bool:
    return path.startswith(("http://", "https://")) or _git(path) is not None


def _unpacks(instruction: typed.Transfer) -> bool:
    """ADD unpacks archives of the context unless it is told not to."""
    return isinstance(instruction, typed.Add) and instruction.unpacks is not False


def _destination(cwd: str, path: str) -> str:
    """Return it from the root, with the slash or dot that it ends in, which says that it is a directory."""
    if path.startswith("/"):
        return path
    joined = clean(posixpath.join("/", cwd, path))
    is_directory = path in ("", ".") or path.endswith(("/", "/."))
    return f"{joined}/" if is_directory and joined != "/" else joined


def _local_path(instruction: typed.Transfer, path: str) -> str:
    if isinstance(instruction, typed.Copy) and instruction.keeps_parents:
        pivot, separator, rest = path.partition("/./")
        if separator:
            return f"{clean(posixpath.join('/', pivot)).rstrip('/')}/./{clean(rest.lstrip('/'))}"
    return clean(posixpath.join("/", path))


def _check_ignored(conversion: Conversion, instruction: typed.Transfer, path: str, checks: Checks) -> None:
    ignored = conversion.ignored
    if not ignored or ignored.has_exclusions:
        return
    path = clean(path)
    if path in (".", "/") and not set(ignored.texts) & set(_WHOLE_CONTEXT):
        return
    if ignored.matches(path):
        checks.copy_ignored_file(instruction.location, type(instruction).__name__.capitalize(), path)


def _history(instruction: typed.Transfer) -> str:
    keeps_parents = isinstance(instruction, typed.Copy) and instruction.keeps_parents
    words: Sequence[str] = (
        type(instruction).__name__.upper(),
        *(["--parents"] if keeps_parents else []),
        *([f"--chown={instruction.chown}"] if instruction.chown else []),
        *([f"--chmod={instruction.chmod}"] if instruction.chmod else []),
        *instruction.paths,
        *(f"<<{document.name}" for document in instruction.documents),
        instruction.destination,
        "# buildkit",
    )
    return " ".join(words)
