"""From the request for a network to its record: everything that can be refused before an address is taken.

The order of the checks and the sentences are dockerd's (`daemon/network.go`, libnetwork's `NewNetwork`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from ipaddress import ip_address, ip_interface, ip_network

from msgspec.structs import replace

from ...openapi.types import networks as api
from ...openapi.types.model import given
from .. import booleans, ids
from ..errors import AlreadyExists, Error, Forbidden, InvalidArgument, NotFound
from ..times import rfc3339
from . import ipam
from .records import NetworkRecord, Pool

DRIVERS = ("bridge", "macvlan", "ipvlan", "host", "null")
_ENABLE = {4: "com.docker.network.enable_ipv4", 6: "com.docker.network.enable_ipv6"}
_NO_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


def define(
    request: api.NetworkCreateRequest,
    *,
    find: Callable[[str], NetworkRecord | None],
    default_options: Mapping[str, Mapping[str, str]],
) -> NetworkRecord:
    """Return the record of a network as its user wants it, with the pools as they are given.

    `find` gives a network by its exact name.
    """
    driver = request.driver or "bridge"
    if driver == "overlay":
        raise Forbidden(_NO_MANAGER)
    options = dict(request.options or {})
    if request.config_from is None:
        options = {**default_options.get(driver, {}), **options}
    enabled = {
        4: _enabled(options, 4, request.enable_ipv4, default=True),
        6: _enabled(options, 6, request.enable_ipv6, default=False),
    }
    ipam_request = request.ipam or api.IPAM()
    pools = _pools(ipam_request.config or (), enable_ipv6=enabled[6])
    if not request.name.strip():
        raise InvalidArgument("invalid name: name is empty")
    if find(request.name) is not None:
        raise AlreadyExists(f"network with name {request.name} already exists")
    record = NetworkRecord(
        id=ids.new_id(),
        name=request.name,
        driver="null" if request.config_only else driver,
        created=rfc3339(now_ns := time.time_ns()),
        created_ns=now_ns,
        enable_ipv4=enabled[4],
        enable_ipv6=enabled[6],
        internal=request.internal,
        attachable=request.attachable,
        config_only=request.config_only,
        config_from=request.config_from.network if request.config_from else "",
        ipam_driver=ipam_request.driver or "default",
        ipam_options=ipam_request.options,
        pools=pools,
        options=options,
        labels=dict(request.labels or {}),
    )
    _check_configuration(request, record)
    return record


def check_driver(driver: str) -> None:
    """Refuse the drivers whose networks are there already."""
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')


def settle(
    request: api.NetworkCreateRequest, record: NetworkRecord, *, find: Callable[[str], NetworkRecord | None]
) -> NetworkRecord:
    """Return the record of a network that may be made, now that its driver is known to be there."""
    _check_scope(request, record)
    if record.driver in DRIVERS:
        _check_families(record)
    if record.ipam_driver == "null" and record.pools:
        raise InvalidArgument("null ipam driver does not handle specific address pool requests")
    return _with_configuration(record, find) if record.config_from else record


def _enabled(options: dict[str, str], version: int, asked: bool | None, *, default: bool) -> bool:
    """Decide about an address family; what the request says goes before the driver option."""
    text = options.get(_ENABLE[version])
    if asked is not None:
        options.pop(_ENABLE[version], None)
        return asked
    if text is None:
        return default
    try:
        return booleans.parse(text)
    except ValueError:
        raise InvalidArgument(f'driver-opt "{_ENABLE[version]}" is not a valid bool') from None


def _check_configuration(request: api.NetworkCreateRequest, record: NetworkRecord) -> None:
    if record.config_only:
        if request.ingress or record.internal or record.attachable or request.scope:
            raise Forbidden(
                "configuration network can only contain network specific fields. Network operator fields like "
                "[ ingress | internal | attachable | scope ] are not supported."
            )
        if record.config_from:
            raise Forbidden("a configuration network cannot depend on another configuration network")
    elif record.config_from:
        own = record.pools or record.labels or record.options or record.ipam_options
        if own or record.ipam_driver != "default" or not record.enable_ipv4 or record.enable_ipv6:
            raise Forbidden(
                "user specified configurations are not supported if the network depends on a configuration network"
            )


def _check_scope(request: api.NetworkCreateRequest, record: NetworkRecord) -> None:
    if request.scope == "local" and record.scope == "global":
        raise Forbidden(f"cannot downgrade network scope for {record.driver} networks")
    if request.ingress and record.scope != "global":
        raise Forbidden("Ingress network can only be global scope network")
    if request.scope == "swarm":
        raise Forbidden("cannot create a swarm scoped network when swarm is not active")


def _check_families(record: NetworkRecord) -> None:
    if not (record.enable_ipv4 or record.enable_ipv6 or record.driver in ("macvlan", "ipvlan")):
        raise InvalidArgument("IPv4 or IPv6 must be enabled")
    if record.ipam_driver == "null" and not record.pools:
        for version, is_enabled in ((4, record.enable_ipv4), (6, record.enable_ipv6)):
            if is_enabled:
                raise InvalidArgument(f"ipv{version} pool is empty")


def _with_configuration(record: NetworkRecord, find: Callable[[str], NetworkRecord | None]) -> NetworkRecord:
    source = find(record.config_from)
    if source is None or not source.config_only:
        raise NotFound(f'configuration network "{record.config_from}" does not exist')
    return NetworkRecord(
        id=record.id,
        name=record.name,
        driver=record.driver,
        created=record.created,
        created_ns=record.created_ns,
        scope=record.scope,
        internal=record.internal,
        attachable=record.attachable,
        config_from=record.config_from,
        enable_ipv4=source.enable_ipv4,
        enable_ipv6=source.enable_ipv6,
        ipam_driver=source.ipam_driver,
        ipam_options=source.ipam_options,
        pools=source.pools,
        options=source.options,
        labels=source.labels,
    )


def _pools(configs: Iterable[api.IPAMConfig], *, enable_ipv6: bool) -> tuple[Pool, ...]:
    problems: list[str] = []
    pools = []
    for config in configs:
        pool = Pool(
            subnet=given(config.subnet, ""),
            gateway=given(config.gateway, ""),
            ip_range=given(config.ip_range, ""),
            auxiliary=dict(given(config.auxiliary_addresses, {})),
        )
        found = list(_pool_problems(pool, enable_ipv6=enable_ipv6))
        problems += found
        if not found:
            pools.append(pool)
    if problems:
        raise InvalidArgument(f"invalid network config:\n{listed(problems)}")
    return tuple(pools)


def listed(problems: list[str]) -> str:
    """Write several problems as dockerd does: with bullets where there are more than one."""
    return problems[0] if len(problems) == 1 else "\n".join(f"* {problem}" for problem in problems)


def _pool_problems(pool: Pool, *, enable_ipv6: bool) -> Iterable[str]:
    """Say what is wrong with a pool; one without a subnet is given one later."""
    if not pool.subnet:
        if pool.gateway or pool.ip_range:
            yield "every ip-range or gateway must have a corresponding subnet"
        return
    try:
        subnet = ip_network(pool.subnet, strict=False)
    except ValueError:
        yield f"invalid subnet {pool.subnet}: invalid CIDR block notation"
        return
    if subnet.version == 6 and not enable_ipv6:
        return
    if ip_interface(pool.subnet).ip != subnet.network_address:
        yield f"invalid subnet {pool.subnet}: it should be {subnet}"
    yield from _range_problems(pool.ip_range, subnet)
    if pool.gateway and (problem := _address_problem(pool.gateway, subnet)):
        yield f"invalid gateway {pool.gateway}: {problem}"
    for name, address in pool.auxiliary.items():
        if problem := _address_problem(address, subnet):
            yield f"invalid auxiliary address {name}: {problem}"


def _range_problems(text: str, subnet: ipam.Subnet) -> Iterable[str]:
    if not text:
        return
    try:
        part = ip_network(text, strict=False)
    except ValueError:
        yield f"invalid ip-range {text}: invalid CIDR block notation"
        return
    if part.version != subnet.version:
        yield f"invalid ip-range {text}: parent subnet is an IPv{subnet.version} block"
        return
    if part.prefixlen < subnet.prefixlen:
        yield f"invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"
    if ip_interface(text).ip != part.network_address:
        yield f"invalid ip-range {text}: it should be {part}"
    if not ipam.overlaps(part, [subnet]):
        yield f"invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"


def _address_problem(text: str, subnet: ipam.Subnet) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return "invalid address"
    if address.version != subnet.version:
        return f"parent subnet is an IPv{subnet.version} block"
    if address not in subnet:
        return f"parent subnet {subnet} doesn't contain this address"
    return ""


def check_name(name: str, *, predefined: Iterable[str]) -> None:
    if name in predefined:
        raise Forbidden(f"operation is not permitted on predefined {name} network")


class Pools:
    """Which subnets are taken, and the subnets of a network that is to be made."""

    def __init__(
        self,
        *,
        sources: Iterable[ipam.SubnetSource],
        ipv6_source: ipam.SubnetSource,
        taken: Iterable[ipam.Subnet],
        routed: Callable[[], Iterable[ipam.Subnet]],
    ) -> None:
        self._sources, self._ipv6_source = tuple(sources), ipv6_source
        self._taken, self._routed = list(taken), routed

    def complete(self, record: NetworkRecord, *, gateway_versions: Collection[int]) -> NetworkRecord:
        """Return the record with a subnet for each family that it has, and a gateway where its driver wants one."""
        wanted = [pool for pool in record.pools if pool.subnet and self._is_enabled(record, pool)]
        for ipv6 in (False, True):
            is_enabled = record.enable_ipv6 if ipv6 else record.enable_ipv4
            if is_enabled and not any(pool.is_ipv6 == ipv6 for pool in wanted):
                asked = next((pool for pool in record.pools if not pool.subnet and not ipv6), Pool(subnet=""))
                wanted.append(replace(asked, subnet=self._choose(ipv6=ipv6), chosen=True))
        pools = []
        for pool in sorted(wanted, key=lambda pool: pool.is_ipv6):
            subnet = ip_network(pool.subnet)
            if ipam.overlaps(subnet, self._taken):
                raise Forbidden("invalid pool request: Pool overlaps with other one on this address space")
            self._taken.append(subnet)
            if subnet.version in gateway_versions and not pool.gateway:
                try:
                    pool = replace(pool, gateway=str(ipam.AddressPool.of(pool).allocate_gateway()))
                except Error as error:
                    raise type(error)(f"failed to allocate gateway (): {error}") from error
            pools.append(pool)
        return replace(record, pools=tuple(pools))

    @staticmethod
    def _is_enabled(record: NetworkRecord, pool: Pool) -> bool:
        return record.enable_ipv6 if pool.is_ipv6 else record.enable_ipv4

    def _choose(self, *, ipv6: bool) -> str:
        sources = (self._ipv6_source,) if ipv6 else self._sources
        return str(ipam.choose_subnet([*self._taken, *self._routed()], sources))
