"""What the list says of one container: the short form of `inspect`, one line of `docker ps`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from msgspec import UNSET

from ...openapi.types.containers import (
    ContainerSummary,
    PortSummary,
    SummaryHostConfig,
    SummaryNetworkSettings,
)
from ...openapi.types.networks import EndpointSettings, PortMap
from . import health

if TYPE_CHECKING:
    from .container import Container
    from .context import Context


def summary(context: Context, container: Container) -> ContainerSummary:
    """Say what `GET /containers/json` says of one container."""
    record = container.record
    settings = record.network
    shown = ContainerSummary(
        id=record.id,
        names=[record.name],
        image=_image_name(context, container),
        image_id=record.image_id,
        command=command(record.path, record.args),
        created=record.created_ns // 1_000_000_000,
        ports=port_summaries(settings.ports or {}),
        labels=record.config.labels or {},
        state=container.status(),
        status=container.status_text(),
        host_config=SummaryHostConfig(
            network_mode=record.host_config.network_mode, annotations=record.host_config.annotations or UNSET
        ),
        network_settings=SummaryNetworkSettings(
            networks={name: _endpoint_summary(endpoint) for name, endpoint in (settings.networks or {}).items()}
        ),
        mounts=[mount.point() for mount in record.mounts],
        health=health.summary(container.state),
    )
    if record.image_manifest is not None:
        shown.image_manifest_descriptor = record.image_manifest
    return shown


def command(path: str, args: Iterable[str]) -> str:
    """Join a command line as the COMMAND column does: quotes only around what has a space."""
    return " ".join([path, *(f"'{arg}'" if " " in arg else arg for arg in args)])


def port_summaries(ports: PortMap) -> list[PortSummary]:
    """Flatten the port map: published ports in order, then those that are only exposed."""
    published: list[PortSummary] = []
    exposed: list[PortSummary] = []
    for key in sorted(ports, key=_port_order):
        number, _, protocol = key.partition("/")
        bindings = ports[key]
        for binding in bindings or ():
            published.append(
                PortSummary(
                    ip=binding.host_ip, private_port=int(number), public_port=int(binding.host_port), type=protocol
                )
            )
        if not bindings:
            exposed.append(PortSummary(private_port=int(number), type=protocol))
    return published + exposed


def _port_order(key: str) -> tuple[int, str]:
    number, _, protocol = key.partition("/")
    return int(number), protocol


def _endpoint_summary(endpoint: EndpointSettings) -> EndpointSettings:
    return EndpointSettings(
        ipam_config=endpoint.ipam_config,
        mac_address=endpoint.mac_address,
        gw_priority=endpoint.gw_priority,
        network_id=endpoint.network_id,
        endpoint_id=endpoint.endpoint_id,
        gateway=endpoint.gateway,
        ip_address=endpoint.ip_address,
        ip_prefix_len=endpoint.ip_prefix_len,
        ipv6_gateway=endpoint.ipv6_gateway,
        global_ipv6_address=endpoint.global_ipv6_address,
        global_ipv6_prefix_len=endpoint.global_ipv6_prefix_len,
    )


def _image_name(context: Context, container: Container) -> str:
    """The name the container was made from, as long as it still means the same image; else the image's id."""
    record = container.record
    if record.config.image == record.image_id or context.images.find_id(record.config.image) == record.image_id:
        return record.config.image
    return record.image_id
