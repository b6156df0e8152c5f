"""A container's configuration: what is portable between hosts."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType

from .model import Model


class HealthConfig(Model):
    """A test to perform to check that the container is healthy."""

    test: list[str] | UnsetType = UNSET
    interval: int | UnsetType = UNSET
    timeout: int | UnsetType = UNSET
    retries: int | UnsetType = UNSET
    start_period: int | UnsetType = UNSET
    start_interval: int | UnsetType = UNSET


class Config(Model):
    """Configuration for a container that is portable between hosts."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | UnsetType = UNSET
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: list[str] | None = None
    cmd: list[str] | None = None
    healthcheck: HealthConfig | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: list[str] | None = None
    mac_address: str | UnsetType = UNSET
    network_disabled: bool | UnsetType = UNSET
    on_build: list[str] | UnsetType = UNSET
    labels: dict[str, str] | None = None
    stop_signal: str | UnsetType = UNSET
    stop_timeout: int | UnsetType = UNSET
    shell: list[str] | UnsetType = UNSET
