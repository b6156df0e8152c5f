"""What `POST /build` may ask for, and how the frontend is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ...errors import Internal, InvalidArgument
from ...images import references
from ...images.registry.credentials import Credentials
from ..graph import Limits
from ..request import Exporter

CLIENT_SESSION = "client-session"
"""In place of a remote context: the files are the session's."""


@dataclass(frozen=True, slots=True)
class ClassicOptions:
    """The operation's parameters. A build argument without a value is one that the client did not know.

    `is_traced` is version 2: told in BuildKit's terms, by a client that may have a session. `outputs` are its alone.
    """

    tags: tuple[str, ...] = ()
    dockerfile: str = ""
    remote: str = ""
    build_args: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    platform: str = ""
    network: str = ""
    extra_hosts: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    cache_from: tuple[str, ...] = ()
    credentials: Mapping[str, Credentials] = field(default_factory=dict)
    build_id: str = ""
    is_quiet: bool = False
    is_cacheless: bool = False
    pulls: bool = False
    keeps_containers: bool = False
    wants_aux: bool = True
    is_traced: bool = False
    session: str = ""
    outputs: tuple[Exporter, ...] = ()

    def references(self) -> tuple[references.Reference, ...]:
        """Return the names for the image, each once. Raises Internal: dockerd's status for a bad one."""
        found = []
        for tag in self.tags:
            try:
                reference = references.parse(tag)
                references.check_name(reference)
            except InvalidArgument as error:
                raise Internal(str(error)) from error
            if reference.digest is not None:
                raise Internal("build tag cannot contain a digest")
            found.append(reference.with_default_tag())
        return tuple(dict.fromkeys(found))

    def for_frontend(self) -> dict[str, str]:
        """Return the frontend's options."""
        limits = self.limits
        options = {
            "filename": self.dockerfile,
            "target": self.target,
            "platform": self.platform,
            "context": "" if self.remote == CLIENT_SESSION else self.remote,
            "force-network-mode": "" if self.network == "default" else self.network,
            "add-hosts": _listed(_pair(host) for host in self.extra_hosts),
            "image-resolve-mode": "pull" if self.pulls else "",
            "memory": _number(limits.memory_bytes),
            "memswap": _number(limits.memory_swap_bytes),
            "cpushares": _number(limits.cpu_shares),
            "cpuperiod": _number(limits.cpu_period),
            "cpuquota": _number(limits.cpu_quota),
            "cpusetcpus": limits.cpuset_cpus,
            "cpusetmems": limits.cpuset_mems,
            "shm-size": _number(limits.shm_size_bytes),
            "ulimit": _listed(f"{limit.name}={limit.soft}:{limit.hard}" for limit in limits.ulimits),
            "cgroup-parent": limits.cgroup_parent,
        }
        options = {name: value for name, value in options.items() if value}
        if self.is_cacheless:
            options["no-cache"] = ""
        options |= {f"label:{name}": value for name, value in self.labels.items()}
        return options | {f"build-arg:{name}": value for name, value in self.build_args.items() if value is not None}


def _number(value: int) -> str:
    return str(value) if value else ""


def _pair(host: str) -> str:
    name, _, address = host.partition(":")
    return f"{name}={address}"


def _listed(values: Iterable[str]) -> str:
    return ",".join(f'"{value}"' if "," in value else value for value in values)
