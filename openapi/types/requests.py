"""The bodies of requests on containers, exec instances and images."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from .config import Config
from .hostconfig import HostConfig, Resources, RestartPolicy
from .model import Model
from .networks import NetworkingConfig


class ContainerCreateRequest(Config):
    """Everything that a container is made from."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class ContainerUpdateRequest(Resources):
    """What can be changed of a container that exists."""

    restart_policy: RestartPolicy | UnsetType = UNSET


class ExecCreateRequest(Model):
    """A process to be run in a container."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach_keys: str = ""
    env: list[str] | None = None
    working_dir: str = ""
    cmd: list[str] | None = None


class ExecStartRequest(Model):
    """How a process that was made is to be started."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] | None = None
