"""A container's part in networking: its sandbox or another container's, its networks, and the three files in /etc.

Addresses, rules and namespaces are made by the networks room; here its answer becomes what inspect shows, and the
files that dockerd puts into every container are written to `containers/<id>/`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...openapi.types.model import given
from ...openapi.types.networks import EndpointSettings, NetworkSettings
from .. import errors
from ..networks import endpoints, files
from ..networks.names import needs_names
from ..networks.ports import PortWishes
from . import links, modes

if TYPE_CHECKING:
    from ..networks.network import EndpointRequest
    from ..networks.records import SandboxRecord
    from ..networks.sandboxes import Sandbox
    from .container import Container
    from .context import Context


async def allocate(context: Context, container: Container) -> Sandbox:
    """Get the container a sandbox of its own."""
    record = container.record
    wishes = PortWishes(
        record.host_config.port_bindings or {},
        tuple(given(record.config.exposed_ports, {})),
        publish_all=record.host_config.publish_all_ports,
    )
    requests = [request(container, name) for name in _in_order(context, container)]
    host_config = record.host_config
    upstream = context.networks.upstream(dns=host_config.dns or (), options=host_config.dns_options or ())
    id_map = container.id_map(context.host)
    return await context.networks.allocate(
        record.id,
        requests,
        name=container.name,
        hostname=record.config.hostname,
        wishes=wishes,
        upstream=upstream,
        make_namespace=partial(context.supervisor.make_namespace, id_map.to_oci()) if id_map else None,
    )


def request(container: Container, network: str) -> EndpointRequest:
    """Return what the container's user asked of a network."""
    asked = (container.record.network.networks or {}).get(network) or EndpointSettings()
    return endpoints.request(
        asked.network_id or network, asked, mac_address=container.record.mac_addresses.get(network, "")
    )


def main_network(context: Context, container: Container) -> str:
    """Return the name of the network that the container's mode names."""
    ref = endpoints.network_name(container.record.host_config.network_mode)
    found = context.networks.find_or_none(ref)
    return found.name if found is not None else ref


def _in_order(context: Context, container: Container) -> list[str]:
    """Return the container's networks, the main one first: its interfaces come in this order."""
    main = main_network(context, container)
    return sorted(container.record.network.networks or {}, key=lambda name: (name != main, name))


def joined(context: Context, container: Container) -> Container | None:
    """Return the container whose network this one shares, None for a network of its own."""
    ref = modes.joined_container(container.record.host_config.network_mode)
    if ref is None:
        return None
    try:
        other = context.registry.resolve(ref)
    except errors.NotFound as error:
        raise errors.Internal(f"joining network namespace of container: {error}") from error
    if other is container:
        raise errors.Internal("cannot join own network namespace")
    if not other.state.running:
        raise errors.Conflict(
            f"cannot join network namespace of a non running container: container {other.name} is {other.status()}"
        )
    return other


def pid_namespace(context: Context, container: Container) -> str:
    """Return the path of the pid namespace to join, empty for none."""
    ref = modes.joined_container(container.record.host_config.pid_mode)
    if ref is None:
        return ""
    try:
        other = context.registry.resolve(ref)
    except errors.Error as error:
        raise errors.Internal(str(error)) from error
    if not other.state.running:
        raise errors.Internal(f"container {ref} is not running")
    return f"/proc/{other.state.pid}/ns/pid"


def settings(context: Context, container: Container, sandbox: SandboxRecord, *, pid: int) -> NetworkSettings:
    """Return what inspect shows of a running container's network."""
    asked = container.record.network.networks or {}
    return NetworkSettings(
        sandbox_id=sandbox.sandbox_id,
        sandbox_key=sandbox.key or f"/proc/{pid}/ns/net",
        ports=context.networks.published(sandbox),
        networks={
            one.network_name: endpoints.settings(one, asked.get(one.network_name) or EndpointSettings())
            for one in sandbox.endpoints
            if not one.is_gateway
        },
    )


def addresses(sandbox: SandboxRecord) -> list[str]:
    """Return the container's own addresses, as its hosts file lists them."""
    own = [one for one in sandbox.endpoints if not one.is_gateway]
    return [text for one in own for text in (one.ip_address, one.ipv6_address) if text]


def hosts_names(container: Container) -> str:
    """Return the names by which the container finds itself."""
    return files.own_names(container.record.config.hostname, container.record.config.domainname)


def hosts_lines(container: Container, ips: list[str]) -> list[str]:
    return [f"{address}\t{hosts_names(container)}" for address in ips]


def write_files(context: Context, container: Container, directory: Path, *, sandbox: SandboxRecord) -> None:
    """Write hostname, hosts and resolv.conf, anew at each start as dockerd does."""
    record = container.record
    config, host_config = record.config, record.host_config
    mode = host_config.network_mode
    (directory / "hostname").write_text(f"{config.hostname}\n")
    hosts = context.networks.hosts_file(
        mode,
        hostname=config.hostname,
        domainname=config.domainname,
        ips=addresses(sandbox),
        extra_hosts=host_config.extra_hosts or (),
    )
    linked = "".join(f"{line}\n" for line in links.hosts_lines(context, container))
    (directory / "hosts").write_text(hosts + linked)
    (directory / "resolv.conf").write_text(_resolv_conf(context, container, has_resolver=needs_names(sandbox)))


def _resolv_conf(context: Context, container: Container, *, has_resolver: bool) -> str:
    host_config = container.record.host_config
    return context.networks.resolv_conf(
        host_config.network_mode,
        dns=host_config.dns or (),
        search=host_config.dns_search or (),
        options=host_config.dns_options or (),
        has_resolver=has_resolver,
    )


def update_files(context: Context, container: Container, sandbox: SandboxRecord) -> None:
    """Bring a running container's hosts and resolv.conf into line with its networks; what its user wrote stays.

    The files are mounted into the container: they are written in place.
    """
    directory = context.config.containers_dir / container.id
    own = hosts_lines(container, addresses(sandbox))
    hosts = directory / "hosts"
    before = hosts.read_text(errors="replace").splitlines()
    names = hosts_names(container)
    kept = [line for line in before if line.partition("\t")[2] != names or line in own]
    hosts.write_text("".join(f"{line}\n" for line in [*kept, *(line for line in own if line not in kept)]))
    resolv_conf = directory / "resolv.conf"
    has_resolver = needs_names(sandbox)
    if resolv_conf.read_text(errors="replace") == _resolv_conf(context, container, has_resolver=not has_resolver):
        resolv_conf.write_text(_resolv_conf(context, container, has_resolver=has_resolver))
