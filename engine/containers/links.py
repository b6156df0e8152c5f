"""Links of old (`--link` on the default bridge): another container in the hosts file, its ports in the environment.

On networks that users made a link is a name that this container alone knows, which the resolver answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...openapi.types.hostconfig import HostConfig
from ...openapi.types.model import given
from .. import errors
from ..networks import ports
from . import modes

if TYPE_CHECKING:
    from .container import Container
    from .context import Context

_BUILD_VARIABLES = ("HOME", "PATH")


def resolve(context: Context, host_config: HostConfig) -> dict[str, str]:
    """Return the ids of the linked containers by their aliases; raise InvalidArgument where there is none."""
    found: dict[str, str] = {}
    if host_config.network_mode not in ("", "default", "bridge"):
        return found
    for link in host_config.links or ():
        name, _, alias = link.partition(":")
        if not name:
            raise errors.InvalidArgument(f"bad format for links: {link}")
        child = _child(context, name)
        while joined := modes.joined_container(child.record.host_config.network_mode):
            child = _child(context, joined)
        if child.record.host_config.network_mode == "host":
            raise errors.InvalidArgument(
                "conflicting options: host type networking can't be used with links. "
                "This would result in undefined behavior"
            )
        found[alias or child.name] = child.id
    return found


def shown(context: Context, container: Container) -> list[str] | None:
    """Return what `HostConfig.Links` shows, with the names of now."""
    found = [
        f"{child.record.name}:{container.record.name}/{alias}"
        for alias, child_id in container.record.links.items()
        if (child := context.registry.by_id(child_id)) is not None
    ]
    asked = (text.partition(":") for text in container.record.host_config.links or ())
    return found or [f"/{name}:{container.record.name}/{alias or name}" for name, _, alias in asked] or None


def remove(context: Context, ref: str) -> None:
    """`rm --link parent/alias`: the one container knows the other by that name no longer."""
    name = ref.removeprefix("/")
    parent_name, _, alias = name.rpartition("/")
    if not parent_name:
        context.registry.resolve(ref)
        raise errors.Internal("Conflict, cannot remove the default link name of the container")
    try:
        parent = context.registry.resolve(parent_name)
    except errors.NotFound:
        raise errors.NotFound(f"No such container: {name}") from None
    if context.registry.by_id(parent.record.links.get(alias, "")) is None:
        raise errors.NotFound(f"No such container: {name}")
    lines = set(hosts_lines(context, parent)) if parent.state.running else set()
    del parent.record.links[alias]
    context.registry.save(parent)
    if parent.state.running:
        gone = lines - set(hosts_lines(context, parent))
        hosts = context.config.containers_dir / parent.id / "hosts"
        kept = [line for line in hosts.read_text(errors="replace").splitlines() if line not in gone]
        hosts.write_text("".join(f"{line}\n" for line in kept))


def running(context: Context, container: Container) -> list[tuple[str, Container, str]]:
    """Return the linked containers by alias, with their addresses; raise Conflict where one does not run."""
    found = []
    for alias, child_id in container.record.links.items():
        child = context.registry.by_id(child_id)
        if child is None:
            continue
        if not child.state.running:
            raise errors.Conflict(
                f"Cannot link to a non running container: {child.record.name} AS {container.record.name}/{alias}"
            )
        endpoint = (child.record.network.networks or {}).get("bridge")
        if endpoint is None:
            raise errors.Internal(f"Cannot link to {child.record.name}, as it does not belong to the default network")
        found.append((alias, child, endpoint.ip_address))
    return found


def hosts_lines(context: Context, container: Container) -> list[str]:
    """Return the lines by which the container finds those that it is linked to."""
    lines = []
    for alias, child, address in running(context, container):
        names = dict.fromkeys((alias, child.record.config.hostname, child.name))
        lines.append(f"{address}\t{' '.join(names)}")
    return lines


def environment(context: Context, container: Container) -> list[str]:
    """Return the variables that say where each linked container is reached, and what its own environment is."""
    found: list[str] = []
    for alias, child, address in running(context, container):
        prefix = alias.upper().replace("-", "_")
        exposed = [ports.parse_port(port) for port in given(child.record.config.exposed_ports, {})]
        for number, (port, protocol) in enumerate(sorted(exposed)):
            if number == 0:
                found.append(f"{prefix}_PORT={protocol}://{address}:{port}")
            name = f"{prefix}_PORT_{port}_{protocol.upper()}"
            found += [
                f"{name}={protocol}://{address}:{port}",
                f"{name}_ADDR={address}",
                f"{name}_PORT={port}",
                f"{name}_PROTO={protocol}",
            ]
        found.append(f"{prefix}_NAME={container.record.name}/{alias}")
        for variable in child.record.config.env or ():
            name, has_value, value = variable.partition("=")
            if has_value and name not in _BUILD_VARIABLES:
                found.append(f"{prefix}_ENV_{name}={value}")
    return found


def _child(context: Context, ref: str) -> Container:
    try:
        return context.registry.resolve(ref)
    except errors.NotFound as error:
        raise errors.InvalidArgument(f"could not get container for {ref}: {error}") from error
