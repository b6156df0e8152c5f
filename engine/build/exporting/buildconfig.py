"""A graph as provenance tells of it (`mode=max`): its steps in BuildKit's terms (LLB), inputs first, as JSON.

Steps are numbered; `step2:0` is the result of the third one. Builders read LLB, and what reads provenance does so too.
"""

from __future__ import annotations

import base64
import json
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...images.config import Platform
from ..graph import (
    BindMount,
    CacheMount,
    Copy,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    MakeDirectory,
    Mount,
    Owner,
    ResultSource,
    Run,
    SecretMount,
    SshMount,
    Step,
    TmpfsMount,
    WriteFiles,
)
from ..keys import key_of

_SHARING = {"private": 1, "locked": 2}
_NETWORKS = {"host": 1, "none": 2}
_NONE = -1
Json = dict[str, Any]


@dataclass
class BuildConfig:
    """The steps up to the one at the end; `numbers` are theirs, by digest. `given` says what a result stands for."""

    given: Callable[[ResultSource], Step | None]
    steps: list[Json] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)
    made: dict[str, Step] = field(default_factory=dict)

    def document(self, end: Step | None) -> Json:
        """Return all steps, with one more that stands for the end."""
        if end is None:
            return {}
        last = self._number(end)
        self._add(key_of("end", end.digest), {"Op": {}}, [last])
        mapping = {digest: f"step{number}" for digest, number in sorted(self.numbers.items())}
        return {"llbDefinition": self.steps, "digestMapping": mapping}

    def _number(self, step: Step) -> int:
        """Return a step's number, behind those of its inputs."""
        found = self.given(step) if isinstance(step, ResultSource) else step
        if found is None:
            return self._add(step.digest, {"Op": {"source": {"identifier": "scratch"}}, "constraints": {}}, [])
        if found.digest in self.numbers:
            return self.numbers[found.digest]
        if isinstance(found, Copy | WriteFiles) and found.is_link and found.base is not None:
            inputs = [self._number(found.base), self._number(replace(found, base=None, is_link=False))]
            op: Json = {"Op": {"merge": {"inputs": [{}, {"input": 1}]}}, "constraints": {}}
        else:
            needed = list(dict.fromkeys(self._number(each) for each in found.inputs))
            inputs, op = needed, _operation(found, lambda step: needed.index(self._number(step)))
        self.made[found.digest] = found
        return self._add(found.digest, op, inputs)

    def _add(self, digest: str, op: Json, inputs: Sequence[int]) -> int:
        number = self.numbers.setdefault(digest, len(self.steps))
        step: Json = {"id": f"step{number}", "op": op}
        if inputs:
            step["inputs"] = [f"step{each}:0" for each in inputs]
        self.steps.append(step)
        return number

    def locations(self) -> Json:
        """Return where in the Dockerfile each step stands."""
        found = {f"step{self.numbers[digest]}": _places(step) for digest, step in self.made.items()}
        return {name: {"locations": places} if places else {} for name, places in found.items()}


def _places(step: Step) -> list[Json]:
    lines = [range(place.first, place.last + 1) for place in step.locations]
    return [{"ranges": [{"start": {"line": line}, "end": {"line": line}} for line in each]} for each in lines]


Number = Callable[[Step], int]
"""Tells which of a step's inputs a step is."""


def _operation(step: Step, number: Number) -> Json:
    if isinstance(step, Run):
        return {"Op": {"exec": _exec(step, number)}, "platform": _platform(step.platform), "constraints": {}}
    if isinstance(step, Copy):
        base, source = (_NONE if each is None else number(each) for each in (step.base, step.source))
        actions = [
            _action(base if at == 0 else len(step.inputs) + at - 1, {"copy": _copy(step, path)}, source)
            for at, path in enumerate(step.paths)
        ]
    elif isinstance(step, WriteFiles):
        base = _NONE if step.base is None else number(step.base)
        actions = [
            _action(base if at == 0 else len(step.inputs) + at - 1, {"mkfile": _file(step, each.name, each.data)})
            for at, each in enumerate(step.files)
        ]
    elif isinstance(step, MakeDirectory):
        made = {"path": step.path, "mode": 0o755, "makeParents": True, **_owned(step.owner), **_dated(step.created_at)}
        actions = [_action(_NONE if step.base is None else number(step.base), {"mkdir": made})]
    else:
        op: Json = {"Op": {"source": _source(step)}, "constraints": {}}
        return {**op, "platform": _platform(step.platform)} if isinstance(step, ImageSource) else op
    for each in actions[:-1]:
        each["output"] = _NONE
    return {"Op": {"file": {"actions": actions}}, "constraints": {}}


def _action(base: int, done: Json, source: int = _NONE) -> Json:
    return {"input": base, "secondaryInput": source, "output": 0, "Action": done}


def _copy(step: Copy, path: str) -> Json:
    copied: Json = {
        "src": path,
        "dest": step.destination,
        "mode": int(step.mode, 8) if step.mode.isdigit() else -1,
        "followSymlink": True,
        "dirCopyContents": True,
        "createDestPath": True,
        "allowWildcard": True,
        "allowEmptyWildcard": True,
        **_owned(step.owner),
        **_dated(step.created_at),
    }
    if step.unpacks:
        copied["attemptUnpackDockerCompatibility"] = True
    if step.exclude:
        copied["exclude_patterns"] = list(step.exclude)
    if step.keeps_parents:
        copied["parentPathsSupported"] = True
    if step.mode and not step.mode.isdigit():
        copied["modeStr"] = step.mode
    return copied


def _file(step: WriteFiles, name: str, data: str) -> Json:
    is_directory = step.destination.endswith("/") or len(step.files) > 1
    return {
        "path": posixpath.join(step.destination, name) if is_directory else step.destination,
        "mode": int(step.mode, 8) if step.mode.isdigit() else 0o644,
        "data": base64.b64encode(data.encode()).decode(),
        **_owned(step.owner),
        **_dated(step.created_at),
    }


def _dated(created_at: int | None) -> Json:
    return {"timestamp": _NONE if created_at is None else created_at * 1_000_000_000}


def _owned(owner: Owner | None) -> Json:
    if owner is None:
        return {}
    names = {"user": owner.user, "group": owner.group or owner.user}
    return {"owner": {kind: _named(name) for kind, name in names.items()}}


def _named(name: str) -> Json:
    return {"User": {"byId": int(name)} if name.isdecimal() else {"byName": {"name": name}}}


def _platform(platform: Platform) -> Json:
    named = {"Architecture": platform.architecture, "OS": platform.os, "Variant": platform.variant}
    return {name: value for name, value in named.items() if value}


def _source(step: Step) -> Json:
    identifier, attributes = "", {}
    if isinstance(step, ImageSource):
        identifier = f"docker-image://{step.digest_ref}"
    elif isinstance(step, LocalSource):
        identifier = f"local://{step.local}"
        patterns = {
            "local.includepattern": step.include,
            "local.excludepatterns": step.exclude,
            "local.followpaths": step.follow,
        }
        attributes = {name: json.dumps(values, separators=(",", ":")) for name, values in patterns.items() if values}
        attributes["local.sharedkeyhint"] = step.local
    elif isinstance(step, HttpSource):
        identifier = redacted(step.url)
        attributes = {"http.checksum": step.checksum, "http.filename": step.filename}
    elif isinstance(step, GitSource):
        place = f"{step.ref}:{step.subdir}".rstrip(":")
        identifier = f"git://{_place(step.url)}{place and '#'}{place}"
        attributes = {"git.fullurl": redacted(step.url), "git.checksum": step.checksum}
        attributes |= {"git.keepgitdir": "true"} if step.keep_git_dir else {}
    told = {name: value for name, value in attributes.items() if value}
    return {"identifier": identifier, **({"attrs": told} if told else {})}


def _place(url: str) -> str:
    shown = redacted(url)
    return shown.partition("://")[2] or shown


def redacted(url: str) -> str:
    """Return an address without the password in it."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if not separator or "@" not in authority:
        return url
    return f"{scheme}://xxxxx:xxxxx@{authority.rpartition('@')[2]}{slash}{path}"


def _exec(step: Run, number: Number) -> Json:
    meta: Json = {"args": list(step.args), "env": list(step.env), "cwd": step.cwd, "removeMountStubsRecursive": True}
    told = {
        "user": step.user,
        "hostname": step.hostname,
        "cgroupParent": step.limits.cgroup_parent,
        "extraHosts": [{"Host": host, "IP": address} for host, address in step.extra_hosts],
        "ulimit": [{"Name": each.name, "Soft": each.soft, "Hard": each.hard} for each in step.limits.ulimits],
    }
    meta |= {name: value for name, value in told.items() if value}
    root: Json = {"dest": "/"} if step.base is not None else {"dest": "/", "input": _NONE}
    mounted = [made for each in step.mounts for made in _mounted(each, number)]
    mounts = [root, *sorted(mounted, key=lambda made: str(made["dest"]))]
    op: Json = {"meta": meta, "mounts": mounts}
    if step.network in _NETWORKS:
        op["network"] = _NETWORKS[step.network]
    if step.is_insecure:
        op["security"] = 1
    if variables := [_variable(each) for each in step.mounts if isinstance(each, SecretMount) and each.env]:
        op["secretenv"] = variables
    if step.devices:
        op["cdiDevices"] = [_device(name, is_required) for name, is_required in step.devices]
    return op


def _device(name: str, is_required: bool) -> Json:
    return {"name": name, **({} if is_required else {"optional": True})}


def _variable(mount: SecretMount) -> Json:
    return {"ID": mount.id, "name": mount.env, **({} if mount.is_required else {"optional": True})}


def _mounted(mount: Mount, number: Number) -> list[Json]:
    """Return what is mounted: nothing for a secret that is a variable alone."""
    if isinstance(mount, BindMount | CacheMount):
        made: Json = {"dest": mount.target, "output": _NONE}
        if (place := _NONE if mount.source is None else number(mount.source)) != 0:
            made["input"] = place
        if mount.path != "/":
            made["selector"] = mount.path
        if mount.is_readonly:
            made["readonly"] = True
        if isinstance(mount, CacheMount):
            sharing = {"sharing": _SHARING[mount.sharing]} if mount.sharing in _SHARING else {}
            made |= {"mountType": 3, "cacheOpt": {"ID": mount.id, **sharing}}
        return [made]
    if isinstance(mount, TmpfsMount):
        size = {"size": mount.size_bytes} if mount.size_bytes else {}
        return [{"dest": mount.target, "input": _NONE, "output": _NONE, "mountType": 4, "TmpfsOpt": size}]
    kind, name = ("SSHOpt", 2) if isinstance(mount, SshMount) else ("secretOpt", 1)
    if isinstance(mount, SecretMount) and not mount.target:
        return []
    told = {"ID": mount.id, "mode": mount.mode, "uid": mount.uid, "gid": mount.gid, "optional": not mount.is_required}
    given = {name: value for name, value in told.items() if value}
    return [{"dest": mount.target or "/run/buildkit/ssh_agent.0", "input": _NONE, "mountType": name, kind: given}]
