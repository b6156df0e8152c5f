"""Processes that were made with exec, as they are reported."""

from __future__ import annotations

from msgspec import UNSET, UnsetType, field

from .model import Model


class ExecProcessConfig(Model, rename=None):
    """What an exec runs."""

    tty: bool = False
    entrypoint: str = ""
    arguments: list[str] | None = None
    privileged: bool | UnsetType = UNSET
    user: str | UnsetType = UNSET


class ExecInspectResponse(Model):
    """What `GET /exec/{id}/json` answers."""

    id: str = field(default="", name="ID")
    running: bool = False
    exit_code: int | None = None
    process_config: ExecProcessConfig | None = None
    open_stdin: bool = False
    open_stderr: bool = False
    open_stdout: bool = False
    can_remove: bool = False
    container_id: str = field(default="", name="ContainerID")
    detach_keys: str = ""
    pid: int = 0
