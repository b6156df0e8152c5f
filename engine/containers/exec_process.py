"""The OCI process object of an exec: the container's own process with what the exec says of its own.

Limits, no-new-privileges and the rest of the confinement are those of the container's first process, as they stand in
its bundle; `--privileged` widens the capabilities alone, as dockerd does.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import msgspec

from .. import errors
from ..runtime.errors import RuntimeFailure
from ..runtime.users import lookup_user
from .spec import environment, process_capabilities, process_user

if TYPE_CHECKING:
    from .container import Container
    from .context import Context
    from .record import ExecRecord


class _Bundle(msgspec.Struct):
    """The part of a bundle's config.json that matters here."""

    process: dict[str, Any]


def build(context: Context, container: Container, record: ExecRecord, console_size: list[int] | None) -> dict[str, Any]:
    """Return the process object; its user is looked up by the runtime, inside the container."""
    config = (context.config.tasks_dir / container.id / "config.json").read_bytes()
    process = msgspec.json.decode(config, type=_Bundle).process
    process.pop("consoleSize", None)
    host_config = container.record.host_config
    process |= {
        "user": process_user(record.user, host_config.group_add),
        "args": [record.entrypoint, *record.arguments],
        "env": record.env,
        "cwd": record.working_dir or "/",
        "terminal": record.tty,
    }
    if record.tty and console_size:
        process["consoleSize"] = {"height": console_size[0], "width": console_size[1]}
    if record.privileged:
        process["capabilities"] = process_capabilities(host_config, context.host, privileged=True)
    return process


def variables(container: Container, own: list[str], *, tty: bool) -> list[str]:
    """Return the variables of an exec: the container's with its own, which win; TERM goes by its own terminal."""
    config = container.record.config
    return environment(msgspec.structs.replace(config, tty=tty, env=[*(config.env or ()), *own]))


def check_user(container: Container, user: str) -> None:
    """Raise InvalidArgument where the running container's files do not know the user."""
    try:
        root_fd = os.open(f"/proc/{container.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise errors.Conflict(f"container {container.id} is not running") from None
    try:
        lookup_user(root_fd, user, container.record.host_config.group_add or ())
    except RuntimeFailure as failure:
        raise errors.InvalidArgument(failure.message) from failure
    finally:
        os.close(root_fd)
