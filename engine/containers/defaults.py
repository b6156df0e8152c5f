"""What a host config means where it says nothing, filled in before it is written down, so that inspect shows it.

Called by `create` after `validate`. Moby's adaptContainerSettings and the small settings around it.
"""

from __future__ import annotations

from collections.abc import Callable

from ...openapi.types.config import Config
from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.model import given
from ..errors import Error, InvalidArgument
from ..ids import short_id
from . import logconfig, modes, security
from .host import Host
from .validate import PORT

DEFAULT_NETWORK = "bridge"


def fill_host_config(host_config: HostConfig, host: Host, *, id_of: Callable[[str], str]) -> None:
    """Complete the host config in place; `id_of` gives the id of the container that a reference names."""
    if host_config.network_mode in ("", "default"):
        host_config.network_mode = DEFAULT_NETWORK
    if not host_config.restart_policy.name:
        host_config.restart_policy.name = "no"
    if host_config.memory > 0 and host_config.memory_swap == 0:
        host_config.memory_swap = 2 * host_config.memory
    host_config.shm_size = host_config.shm_size or host.shm_size
    host_config.ipc_mode = host_config.ipc_mode or host.ipc_mode
    if not host_config.cgroupns_mode:
        shares = host_config.privileged and host.cgroup_version == 1
        host_config.cgroupns_mode = "host" if shares else host.cgroupns_mode
    if host_config.oom_kill_disable is None and host.limits.oom_kill_disable:
        host_config.oom_kill_disable = False
    host_config.runtime = given(host_config.runtime, "") or host.default_runtime
    host_config.console_size = (host_config.console_size or [0, 0])[:2]
    host_config.log_config = logconfig.merge(host_config.log_config, host)
    if host_config.port_bindings:
        host_config.port_bindings = {
            normalize_port(port): bindings for port, bindings in host_config.port_bindings.items()
        }
    if host_config.pids_limit is not None and host_config.pids_limit <= 0:
        host_config.pids_limit = None
    _fill_security_options(host_config)
    _fill_paths(host_config, host)
    host_config.network_mode = _with_id(host_config.network_mode, id_of)
    host_config.pid_mode = _with_id(host_config.pid_mode, id_of, must_exist=True)
    host_config.ipc_mode = _with_id(host_config.ipc_mode, id_of, must_exist=True)


def hostname(config: Config, host_config: HostConfig, container_id: str, host: Host) -> str:
    """Return the container's host name: its own, the host's with the host's network, else its short id."""
    if config.hostname:
        return config.hostname
    return host.hostname if host_config.network_mode == "host" else short_id(container_id)


def normalize_port(port: str) -> str:
    """Write a port key with its protocol: `80` is `80/tcp`."""
    match = PORT.fullmatch(port)
    return f"{match[1]}/{(match[2] or 'tcp').lower()}" if match else port


def _fill_paths(host_config: HostConfig, host: Host) -> None:
    """The paths hidden from a container are its own from now on: `[]` from the client means none."""
    if host_config.privileged:
        return
    if host_config.masked_paths is None:
        host_config.masked_paths = security.masked_paths(host)
    if host_config.readonly_paths is None:
        host_config.readonly_paths = list(security.READONLY_PATHS)


def _fill_security_options(host_config: HostConfig) -> None:
    """Containers that share much with the host have no SELinux label; dockerd shows it on every host."""
    shares = host_config.privileged or host_config.ipc_mode == "host" or host_config.pid_mode == "host"
    options = host_config.security_opt or []
    if shares and not any(option.split("=")[0] == "label" for option in options):
        host_config.security_opt = [*options, "label=disable"]


def _with_id(mode: str, id_of: Callable[[str], str], *, must_exist: bool = False) -> str:
    """Replace a name by an id, so that a rename of the other container changes nothing."""
    ref = modes.joined_container(mode)
    if not ref:
        return mode
    try:
        return f"container:{id_of(ref)}"
    except Error as error:
        if must_exist:
            raise InvalidArgument(str(error)) from error
        return mode  # the start says that there is no such container
