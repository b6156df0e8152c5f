"""What is written down of a container: everything that must be known after the daemon was killed.

One row of the `containers` table each. Configuration is kept as the API's own types, in the merged form that
`inspect` echoes; times are Unix nanoseconds, 0 is "never".
"""

from __future__ import annotations

import msgspec

from ...openapi.types.config import Config
from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.images import OCIDescriptor
from ...openapi.types.networks import NetworkSettings
from ..shim.messages import Health
from .mounts import ResolvedMount


class State(msgspec.Struct, omit_defaults=True):
    """Where a container is in its life. A paused or restarting container counts as running too.

    `health` is what was known when the record was saved; the shim knows better while the container runs.
    """

    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    dead: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started_ns: int = 0
    finished_ns: int = 0
    health: Health | None = None


class Boot(msgspec.Struct, frozen=True):
    """A boot of the host, by the kernel's id of it."""

    id: str


class ContainerRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A container as it is stored.

    `dead` in the state means that removal has begun and must be finished. `started_before` says that the files in
    `containers/<id>/` have been written once.
    """

    id: str
    name: str
    created_ns: int
    path: str
    args: list[str]
    config: Config
    host_config: HostConfig
    image_id: str = ""
    image_manifest: OCIDescriptor | None = None
    platform_os: str = "linux"
    mounts: list[ResolvedMount] = []
    links: dict[str, str] = {}
    """The ids of the containers that it is linked to on the default bridge, by alias."""
    mac_addresses: dict[str, str] = {}
    """The MAC addresses that the user chose, by network: `network` shows those that the endpoints have."""
    network: NetworkSettings = msgspec.field(default_factory=NetworkSettings)
    state: State = msgspec.field(default_factory=State)
    restart_count: int = 0
    stopped_by_user: bool = False
    started_before: bool = False


class ExecRecord(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One more process in a container. `exit_code` is None until it ended or failed to start."""

    id: str
    container_id: str
    entrypoint: str
    arguments: list[str]
    env: list[str]
    user: str = ""
    working_dir: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: list[int] | None = None
    open_stdin: bool = False
    open_stdout: bool = False
    open_stderr: bool = False
    detach_keys: str = ""
    running: bool = False
    exit_code: int | None = None
    pid: int = 0
    ended_ns: int = 0
