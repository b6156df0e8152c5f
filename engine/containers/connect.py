"""`docker network connect` and `disconnect`: a container's networks while it is there, running or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...openapi.types.networks import EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest
from .. import errors
from ..networks import endpoints
from . import modes, networking

if TYPE_CHECKING:
    from ..networks.records import SandboxRecord
    from .container import Container
    from .context import Context

_SHARES = "container sharing network namespace with another container or host cannot be connected to any other network"


async def connect(context: Context, ref: str, request: NetworkConnectRequest) -> None:
    """Put a container on a network: a running one at once, another one when it is started."""
    container = context.registry.resolve(request.container)
    asked = request.endpoint_config or EndpointSettings()
    async with container.lock:
        _refuse_removed(container)
        network = context.networks.find(ref)
        if modes.joined_container(container.record.host_config.network_mode) is not None:
            raise errors.InvalidArgument(_SHARES)
        endpoints.validate(network.name, asked, network)
        endpoints.validate_mac_address(network.name, asked.mac_address)
        networks = container.record.network.networks or {}
        if not container.state.running:
            if network.name not in networks:
                _check(context, network.id, networks)
            container.record.network.networks = {**networks, network.name: asked}
            _note_mac_address(container, network.name, asked)
        else:
            wanted = endpoints.request(network.id, asked, mac_address=asked.mac_address)
            if network.name not in networks:
                _check(context, network.id, networks)
            sandbox = await context.networks.connect(container.id, wanted, pid=container.state.pid)
            container.record.network.networks = {**networks, network.name: asked}
            _note_mac_address(container, network.name, asked)
            await _show(context, container, sandbox)
        context.registry.save(container)


async def disconnect(context: Context, ref: str, request: NetworkDisconnectRequest) -> None:
    """Take a container off a network."""
    container = context.registry.resolve(request.container)
    async with container.lock:
        found = context.networks.find_or_none(ref)
        name = found.name if found is not None else ref
        networks = dict(container.record.network.networks or {})
        if not container.state.running or (found is None and request.force):
            _refuse_removed(container)
            if name not in networks:
                raise errors.Internal(f"container {container.id} is not connected to the network {name}")
            del networks[name]
            container.record.network.networks = networks
        else:
            network = context.networks.find(ref)
            if network.driver == "host" and container.record.host_config.network_mode == "host":
                raise errors.InvalidArgument(
                    "cannot disconnect container from host network - container was created in host network mode"
                )
            sandbox = await context.networks.disconnect(container.id, network.id, pid=container.state.pid)
            networks.pop(name, None)
            container.record.network.networks = networks
            await _show(context, container, sandbox)
        container.record.mac_addresses.pop(name, None)
        context.registry.save(container)


async def _show(context: Context, container: Container, sandbox: SandboxRecord) -> None:
    """Bring what inspect shows, the files and the shim into line with what the container has now."""
    if sandbox.bindings:
        await container.running_task().proxy(context.networks.served(sandbox))
    container.record.network = networking.settings(context, container, sandbox, pid=container.state.pid)
    networking.update_files(context, container, sandbox)


def _check(context: Context, network_id: str, networks: dict[str, EndpointSettings]) -> None:
    context.networks.check_joinable(context.networks.find(network_id), list(networks))


def _note_mac_address(container: Container, network: str, asked: EndpointSettings) -> None:
    if asked.mac_address:
        container.record.mac_addresses[network] = asked.mac_address


def _refuse_removed(container: Container) -> None:
    if container.removing or container.state.dead:
        raise errors.Internal(
            f"Container {container.id} is marked for removal and cannot be connected or disconnected to the network"
        )
