"""The steps of a build: what a frontend makes and the solver runs. Data alone.

A step is frozen and stands for one file system, the one that it results in; `None` in place of a step is the empty
file system (`FROM scratch`). Two steps with the same `digest` are the same work: the digest covers all that decides the
result by definition, the digests of the inputs included, and leaves out what is only shown. What a `LocalSource` holds
is not known from its definition; the solver tells such results apart by content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import msgspec

from ..images.config import Platform


@dataclass(frozen=True)
class Location:
    """Lines of the Dockerfile, from 1, both included."""

    first: int
    last: int


@dataclass(frozen=True)
class Step:
    """What all steps have. `name` is what progress shows; `is_cacheless` is --no-cache."""

    name: str = field(kw_only=True)
    locations: tuple[Location, ...] = field(default=(), kw_only=True)
    is_cacheless: bool = field(default=False, kw_only=True)

    @property
    def inputs(self) -> tuple[Step, ...]:
        return ()

    def definition(self) -> dict[str, object]:
        """Return what decides the result, inputs by their digests."""
        raise AssertionError(f"{type(self).__name__} has no definition")

    @cached_property
    def digest(self) -> str:
        document = {"type": type(self).__name__, **self.definition()}
        encoded = msgspec.json.encode(document, order="deterministic")
        return f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def ancestry(step: Step | None) -> Iterator[Step]:
    """Yield the step and all that it needs, inputs first, each digest once."""
    seen: set[str] = set()

    def visit(step: Step) -> Iterator[Step]:
        if step.digest in seen:
            return
        seen.add(step.digest)
        for needed in step.inputs:
            yield from visit(needed)
        yield step

    if step is not None:
        yield from visit(step)


def digest_of(step: Step | None) -> str:
    return step.digest if step is not None else ""


# Sources


@dataclass(frozen=True)
class Layout:
    """An image layout in a directory of a client's, by the name that a session has for it."""

    store: str
    session: str


@dataclass(frozen=True)
class ImageSource(Step):
    """An image's file system. `digest_ref` is the reference with the digest that the frontend resolved it to.

    Where the client has it, `layout` says so; it is the same image by its digest.
    """

    digest_ref: str
    platform: Platform
    layout: Layout | None = None

    def definition(self) -> dict[str, object]:
        return {"ref": self.digest_ref, "platform": str(self.platform)}


@dataclass(frozen=True)
class LocalSource(Step):
    """A directory of the client's: its build context, its Dockerfile's directory, a named context.

    `include`, `exclude` and `follow` are patterns as in .dockerignore (follow: paths whose links are followed).
    `unique` tells builds apart, whose directories are never the same by definition.
    """

    local: str
    unique: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    follow: tuple[str, ...] = ()

    def definition(self) -> dict[str, object]:
        return {
            "local": self.local,
            "unique": self.unique,
            "include": self.include,
            "exclude": self.exclude,
            "follow": self.follow,
        }


@dataclass(frozen=True)
class GitSource(Step):
    """A checkout. `ref` is a branch, tag, commit or refs/…, empty for the default branch; `checksum` a commit."""

    url: str
    ref: str = ""
    subdir: str = ""
    keep_git_dir: bool = False
    checksum: str = ""
    submodules: bool = True

    def definition(self) -> dict[str, object]:
        return {
            "url": self.url,
            "ref": self.ref,
            "subdir": self.subdir,
            "keep_git_dir": self.keep_git_dir,
            "checksum": self.checksum,
            "submodules": self.submodules,
        }


@dataclass(frozen=True)
class HttpSource(Step):
    """One file, fetched. `filename` is empty where the URL or the server names it."""

    url: str
    checksum: str = ""
    filename: str = ""

    def definition(self) -> dict[str, object]:
        return {"url": self.url, "checksum": self.checksum, "filename": self.filename}


@dataclass(frozen=True)
class ResultSource(Step):
    """What an earlier build of the same client resulted in, by the reference that the solver gave out for it."""

    result: str

    def definition(self) -> dict[str, object]:
        return {"result": self.result}


# Changes of files


@dataclass(frozen=True)
class Owner:
    """As --chown says it: names or numbers, looked up in the file system written to. An empty group: as the user."""

    user: str
    group: str = ""


@dataclass(frozen=True)
class Copy(Step):
    """COPY and ADD of files. `paths` may have wildcards; `is_link` (--link): a layer that knows nothing of `base`.

    With `keeps_parents`, what of a path is in front of `/./` is not kept.
    """

    base: Step | None
    source: Step | None
    paths: tuple[str, ...]
    destination: str
    owner: Owner | None = None
    mode: str = ""
    exclude: tuple[str, ...] = ()
    keeps_parents: bool = False
    unpacks: bool = False
    is_link: bool = False
    needs_match: bool = True
    created_at: int | None = None

    @property
    def inputs(self) -> tuple[Step, ...]:
        return tuple(step for step in (self.base, self.source) if step is not None)

    def definition(self) -> dict[str, object]:
        return {
            "base": digest_of(self.base),
            "source": digest_of(self.source),
            "paths": self.paths,
            "destination": self.destination,
            "owner": self.owner,
            "mode": self.mode,
            "exclude": self.exclude,
            "keeps_parents": self.keeps_parents,
            "unpacks": self.unpacks,
            "is_link": self.is_link,
            "created_at": self.created_at,
        }


@dataclass(frozen=True)
class InlineFile:
    name: str
    data: str


@dataclass(frozen=True)
class WriteFiles(Step):
    """COPY of heredocs: files whose content stands in the Dockerfile."""

    base: Step | None
    files: tuple[InlineFile, ...]
    destination: str
    owner: Owner | None = None
    mode: str = ""
    is_link: bool = False
    created_at: int | None = None

    @property
    def inputs(self) -> tuple[Step, ...]:
        return (self.base,) if self.base is not None else ()

    def definition(self) -> dict[str, object]:
        return {
            "base": digest_of(self.base),
            "files": self.files,
            "destination": self.destination,
            "owner": self.owner,
            "mode": self.mode,
            "is_link": self.is_link,
            "created_at": self.created_at,
        }


@dataclass(frozen=True)
class MakeDirectory(Step):
    """WORKDIR: the directory and its missing parents; one that is there is left as it is."""

    base: Step | None
    path: str
    owner: Owner | None = None
    created_at: int | None = None

    @property
    def inputs(self) -> tuple[Step, ...]:
        return (self.base,) if self.base is not None else ()

    def definition(self) -> dict[str, object]:
        return {
            "base": digest_of(self.base),
            "path": self.path,
            "owner": self.owner,
            "created_at": self.created_at,
        }


# Commands


@dataclass(frozen=True)
class BindMount:
    """A file system, or a path in it, seen by one command; what it writes there is dropped after it."""

    target: str
    source: Step | None
    path: str = "/"
    is_readonly: bool = True


@dataclass(frozen=True)
class CacheMount:
    """A directory kept between builds, by `id`. It is made from `source` with mode and owner where it is new."""

    target: str
    id: str
    sharing: Literal["shared", "private", "locked"] = "shared"
    source: Step | None = None
    path: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    is_readonly: bool = False


@dataclass(frozen=True)
class TmpfsMount:
    target: str
    size_bytes: int = 0


@dataclass(frozen=True)
class SecretMount:
    """A secret of the client's, as a file at `target`, or in the variable `env`, or both."""

    id: str
    target: str = ""
    env: str = ""
    mode: int = 0o400
    uid: int = 0
    gid: int = 0
    is_required: bool = False


@dataclass(frozen=True)
class SshMount:
    """A socket to the client's ssh agent; SSH_AUTH_SOCK points to the first one."""

    id: str
    target: str = ""
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    is_required: bool = False


Mount = BindMount | CacheMount | TmpfsMount | SecretMount | SshMount


@dataclass(frozen=True)
class Ulimit:
    name: str
    soft: int
    hard: int


@dataclass(frozen=True)
class Limits:
    """What a command may use, 0 or empty for no limit; as in the parameters of `POST /build`."""

    memory_bytes: int = 0
    memory_swap_bytes: int = 0
    cpu_shares: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    shm_size_bytes: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    cgroup_parent: str = ""


@dataclass(frozen=True)
class Run(Step):
    """A command. `env` is in order, NAME=value; `network` is default, none, host or a network of `docker build`.

    `devices` are CDI names, and whether there must be such a device.
    """

    base: Step | None
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    platform: Platform
    mounts: tuple[Mount, ...] = ()
    network: str = "default"
    is_insecure: bool = False
    devices: tuple[tuple[str, bool], ...] = ()
    hostname: str = ""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def inputs(self) -> tuple[Step, ...]:
        sources = [mount.source for mount in self.mounts if isinstance(mount, BindMount | CacheMount)]
        return tuple(step for step in (self.base, *sources) if step is not None)

    def definition(self) -> dict[str, object]:
        # What a command may use, and whom it reaches by which name, does not decide what it makes; as in BuildKit.
        return {
            "base": digest_of(self.base),
            "args": self.args,
            "env": [variable for variable in self.env if variable.partition("=")[0].lower() not in PROXY_VARIABLES],
            "cwd": self.cwd,
            "user": self.user,
            "platform": str(self.platform),
            "mounts": [_mount_definition(mount) for mount in self.mounts],
            "network": self.network,
            "is_insecure": self.is_insecure,
            **({"devices": self.devices} if self.devices else {}),
            "hostname": self.hostname,
            "extra_hosts": self.extra_hosts,
        }


PROXY_VARIABLES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})


def _mount_definition(mount: Mount) -> dict[str, object]:
    fields = {name: getattr(mount, name) for name in mount.__dataclass_fields__ if name != "source"}
    source = mount.source if isinstance(mount, BindMount | CacheMount) else None
    return {"type": type(mount).__name__, "source": digest_of(source), **fields}
