"""Where a build's files come from: its Dockerfile, its context, the contexts that options name.

All may be the client's directories, git repositories, what an address gives, or results of other builds. Names of
steps are those that BuildKit shows.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO

import msgspec

from ...booleans import parse as parse_bool
from ...errors import InvalidArgument
from ...images import references
from ...images.config import ImageConfig, Platform, decode_config
from ...snapshots.compression import NONE, detect
from ..frontend import Bridge, Request
from ..graph import Copy, GitSource, HttpSource, Layout, LocalSource, Step
from ..patterns import clean, read_ignore_file
from .giturl import GitUrl, parse_git_url
from .options import normalized
from .pending import Pending

_IGNORE = ".dockerignore"
_DOCKERFILE = "Dockerfile"
_FETCHED = "context"
_CONTEXT = "context"
_CONFIG = "containerimage.config"


@dataclass(frozen=True, slots=True)
class NamedContext:
    """`key` is the name as the option has it, `value` what it stands for."""

    key: str
    value: str

    @property
    def scheme(self) -> str:
        return self.value.partition(":")[0]

    @property
    def rest(self) -> str:
        return self.value.partition(":")[2].removeprefix("//")


class Sources:
    def __init__(self, request: Request, bridge: Bridge) -> None:
        self._request, self._bridge = request, bridge
        self._options = request.options
        self.filename = self._options.get("filename", _DOCKERFILE)
        self._remote: Step | None = None
        self._ignore: tuple[str, ...] | None = None
        self._ignores: dict[str, tuple[str, ...]] = {}
        self.dockerfile_step: Step | None = None

    async def start(self) -> None:
        """Find out where the context is."""
        value = self._options.get(self._options.get("contextkey", _CONTEXT), "")
        keeps = self._options.get("build-arg:BUILDKIT_CONTEXT_KEEP_GIT_DIR", "")
        if git := parse_git_url(value):
            self._remote = git_source(git, f"[internal] load git source {value}", keeps_git_dir=_truth(keeps))
        elif value.startswith(("http://", "https://")):
            self._remote = await self._fetched(value)
        else:
            self._remote = self._request.inputs.get(_CONTEXT)
        if self._remote is not None and (subdir := self._options.get("contextsubdir")):
            self._remote = Copy(None, self._remote, (subdir,), "/", name="[internal] copy of a directory")

    async def _fetched(self, url: str) -> Step:
        """Return what an address gives: an archive unpacked, else a Dockerfile alone."""
        source = HttpSource(url, filename=_FETCHED, name="[internal] load remote build context")
        data = await self._bridge.read_file(source, _FETCHED)
        if data is not None and _is_archive(data):
            return Copy(None, source, (f"/{_FETCHED}",), "/", unpacks=True, name="[internal] unpack build context")
        self.filename = _FETCHED
        return source

    async def dockerfile(self) -> bytes:
        """Read the Dockerfile, and the ignore file that is its own. Raises InvalidArgument."""
        names = [self.filename]
        if posixpath.basename(self.filename) == _DOCKERFILE:
            names.append(posixpath.join(posixpath.dirname(self.filename), _DOCKERFILE.lower()))
        step = self.dockerfile_step = self._dockerfile_source(names)
        own = await self._bridge.read_file(step, f"{self.filename}{_IGNORE}")
        if own is not None:
            self._ignore = self._read_ignore(own, f"{self.filename}{_IGNORE}")
        for name in names:
            if (data := await self._bridge.read_file(step, name)) is not None:
                return data
        raise InvalidArgument(
            f"failed to read dockerfile: open {posixpath.basename(self.filename)}: no such file or directory"
        )  # fmt: skip

    def _dockerfile_source(self, names: list[str]) -> Step:
        local = self._options.get("dockerfilekey", "")
        if not local:
            if self._remote is not None and _CONTEXT not in self._request.inputs:
                return self._remote
            if "dockerfile" in self._request.inputs:
                return self._request.inputs["dockerfile"]
        follow = (names[0], f"{names[0]}{_IGNORE}", *names[1:])
        return LocalSource(
            local or "dockerfile", self._unique(local or "dockerfile"), follow=follow,
            name=f"[internal] load build definition from {self.filename}",
        )  # fmt: skip

    async def ignored(self) -> tuple[str, ...]:
        """Return the patterns of what the context leaves out."""
        if self._remote is not None:
            return ()
        if self._ignore is None:
            name = f"[internal] load {_IGNORE}"
            self._ignore = await self._ignore_file(
                LocalSource(_CONTEXT, self._unique(_CONTEXT), follow=(_IGNORE,), name=name)
            )
        return self._ignore

    async def _ignore_file(self, source: Step) -> tuple[str, ...]:
        data = await self._bridge.read_file(source, _IGNORE)
        return self._read_ignore(data, _IGNORE) if data else ()

    @staticmethod
    def _read_ignore(data: bytes, name: str) -> tuple[str, ...]:
        try:
            return read_ignore_file(data.decode())
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"failed parsing {name}: it is not UTF-8") from error

    async def context(self, paths: Iterable[str]) -> Step:
        """Return the build context, of a client's directory no more than some paths."""
        if self._remote is not None:
            return self._remote
        return LocalSource(
            _CONTEXT, self._unique(_CONTEXT), exclude=await self.ignored(), follow=_followed(paths),
            name="[internal] load build context",
        )  # fmt: skip

    @cached_property
    def contexts(self) -> dict[str, str]:
        prefix = f"{_CONTEXT}:"
        return {key.removeprefix(prefix): value for key, value in self._options.items() if key.startswith(prefix)}

    def named(self, name: str, platform: Platform) -> NamedContext | None:
        """Return what an option puts in the place of a stage's or an image's name."""
        if not self.contexts or name.lower() in ("scratch", _CONTEXT):
            return None
        try:
            short = references.parse(name).familiar.removesuffix(":latest")
        except InvalidArgument as error:
            raise InvalidArgument(f"invalid context name {name}: {error}") from error
        keys = (f"{short}::{normalized(platform)}", short)
        return next((NamedContext(key, self.contexts[key]) for key in keys if key in self.contexts), None)

    async def named_source(self, context: NamedContext) -> Step:
        """Return the files of a context that is no image."""
        if not context.value.partition(":")[1]:
            raise InvalidArgument(f"invalid context specifier {context.value} for {context.key}")
        name = f"[context {context.key}] {context.value}"
        if git := parse_git_url(context.value):
            return git_source(git, name)
        if context.scheme in ("http", "https"):
            return HttpSource(context.value, filename=_FETCHED, name=name)
        local = context.value.partition(":")[2]
        if context.scheme == "local":
            unique = self._unique(local)
            source = LocalSource(local, unique, follow=(_IGNORE,), name=f"[context {context.key}] load {_IGNORE}")
            self._ignores[context.key] = await self._ignore_file(source)
            return Pending(context.key, name=f"[context {context.key}] load from client")
        if context.scheme == "input":
            if local not in self._request.inputs:
                raise InvalidArgument(f"invalid input {local} for {context.key}")
            return self._request.inputs[local]
        raise InvalidArgument(f"unsupported context source {context.scheme} for {context.key}")

    def named_layout(self, context: NamedContext) -> tuple[str, Layout]:
        """Return the name and place of an image that the client has. Raises InvalidArgument."""
        store, _, digest = context.rest.partition("@")
        if not digest:
            raise InvalidArgument(f'oci-layout reference "{context.rest}" has no digest')
        folder, slash, last = store.rpartition("/")
        place = f"oci:{folder}{slash}{last.partition(':')[0]}"
        name = context.key.partition("::")[0]
        return str(references.parse(f"{name}@{digest}")), Layout(place, self._request.unique)

    def input_config(self, context: NamedContext) -> ImageConfig | None:
        """Return the configuration that an input came with, where it was an image."""
        text = self._options.get(f"input-metadata:{context.rest}", "")
        if context.scheme != "input" or not text:
            return None
        try:
            config = msgspec.json.decode(text, type=dict[str, bytes]).get(_CONFIG)
            return None if config is None else decode_config(config)
        except msgspec.DecodeError as error:
            raise InvalidArgument(f"failed to unmarshal metadata of input {context.rest}: {error}") from error

    def named_local(self, pending: Pending, paths: Iterable[str]) -> Step:
        """Return a client's directory that was pending, no more of it than some paths."""
        local = self.contexts[pending.key].partition(":")[2]
        return LocalSource(
            local, self._unique(local), exclude=self._ignores[pending.key], follow=_followed(paths), name=pending.name
        )  # fmt: skip

    def _unique(self, local: str) -> str:
        return self._options.get(f"local-sessionid:{local}", self._request.unique)


def git_source(git: GitUrl, name: str, *, keeps_git_dir: bool | None = None, checksum: str = "") -> GitSource:
    return GitSource(
        git.remote, git.ref, git.subdir, bool(keeps_git_dir or git.keeps_git_dir), checksum or git.checksum,
        git.submodules, name=name,
    )  # fmt: skip


def _followed(paths: Iterable[str]) -> tuple[str, ...]:
    """Return what is to be sent, empty for all."""
    cleaned = sorted({clean(path).lstrip("/") for path in paths})
    return () if "" in cleaned or not cleaned else tuple(cleaned)


def _truth(text: str) -> bool | None:
    try:
        return parse_bool(text)
    except ValueError:
        return None


def _is_archive(data: bytes) -> bool:
    if detect(data[:10]) != NONE:
        return True
    try:
        with tarfile.open(fileobj=BytesIO(data), mode="r:"):
            return True
    except tarfile.TarError:
        return False
