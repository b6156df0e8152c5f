"""What plugins answer about endpoints, and what follows from it for a container."""

from __future__ import annotations

from typing import Any

import pytest
from lightship.engine import errors
from lightship.engine.networks import plan, ports
from lightship.engine.networks.network import Network
from lightship.engine.networks.records import EndpointRecord, NetworkRecord, Pool, RemoteEndpoint, Route, SandboxRecord
from lightship.engine.networks.remote import answers
from lightship.openapi.types.networks import PortBinding


def endpoint(**changes: Any) -> EndpointRecord:
    given: dict[str, Any] = {
        "container_id": "c",
        "container_name": "box",
        "network_id": "n",
        "network_name": "net",
        "network_driver": "plugin",
        "endpoint_id": "e",
        "remote": RemoteEndpoint(),
    }
    return EndpointRecord(**{**given, **changes})


def test_a_plugin_chooses_what_is_not_chosen() -> None:
    told = {"Interface": {"Address": "10.1.2.3/24", "AddressIPv6": "fd00::3/64", "MacAddress": "02-00-00-00-00-AA"}}
    made = answers.created(endpoint(), told)
    assert (made.ip_address, made.prefix_len) == ("10.1.2.3", 24)
    assert (made.ipv6_address, made.ipv6_prefix_len, made.mac_address) == ("fd00::3", 64, "02:00:00:00:00:aa")
    assert answers.created(endpoint(ip_address="10.1.2.3", prefix_len=24), {}).ip_address == "10.1.2.3"


@pytest.mark.parametrize(
    ("present", "told", "message"),
    [
        ({"mac_address": "02:00:00:00:00:01"}, {"MacAddress": "02:00:00:00:00:02"}, "MAC address present"),
        ({"ip_address": "10.0.0.1", "prefix_len": 8}, {"Address": "10.0.0.2/8"}, r"IP present \(10.0.0.1/8\)"),
        ({}, {"Address": "10.0.0.2"}, "invalid CIDR address: 10.0.0.2"),
        ({}, {"MacAddress": "02:00"}, "address 02:00: invalid MAC address"),
    ],
)
def test_what_a_plugin_may_not_choose(present: dict[str, Any], told: dict[str, str], message: str) -> None:
    with pytest.raises(errors.Internal, match=message):
        answers.created(endpoint(**present), {"Interface": told})


def test_joining() -> None:
    told = {
        "InterfaceName": {"SrcName": "veth7", "DstPrefix": "wan"},
        "Gateway": "10.0.0.1",
        "GatewayIPv6": "fd00::1",
        "StaticRoutes": [
            {"Destination": "10.9.0.0/16", "RouteType": 0, "NextHop": "10.0.0.7"},
            {"Destination": "10.8.0.0/16", "RouteType": 1, "NextHop": ""},
        ],
    }
    made = answers.joined(endpoint(ip_address="10.0.0.2"), told)
    assert (made.link, made.gateway, made.ipv6_gateway) == ("veth7", "10.0.0.1", ""), "it has no IPv6"
    assert made.remote == RemoteEndpoint(
        prefix="wan",
        routes=(Route(destination="10.9.0.0/16", next_hop="10.0.0.7"), Route(destination="10.8.0.0/16")),
        is_joined=True,
    )


@pytest.mark.parametrize(
    ("changes", "internal", "needs"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"gateway": "10.0.0.1"}, False, False),
        ({"ipv6_gateway": "fd00::1"}, False, False),
        ({"remote": RemoteEndpoint(needs_no_gateway=True)}, False, False),
        ({"remote": RemoteEndpoint(routes=(Route(destination="0.0.0.0/0", next_hop="10.0.0.9"),))}, False, False),
        ({"remote": RemoteEndpoint(routes=(Route(destination="0.0.0.0/0"),))}, False, True),
        ({"remote": None}, False, False),
    ],
)
def test_who_needs_the_engines_way_out(changes: dict[str, Any], internal: bool, needs: bool) -> None:
    record = NetworkRecord(id="n", name="net", driver="plugin", created="", internal=internal)
    sandbox = SandboxRecord(container_id="c", container_name="box", sandbox_id="s", endpoints=(endpoint(**changes),))
    assert plan.needs_gateway(sandbox, {"n": Network(record, None)}) is needs


def test_the_engines_way_out_comes_last() -> None:
    theirs = endpoint(remote=RemoteEndpoint(routes=(Route(destination="0.0.0.0/0"),)))
    ours = endpoint(endpoint_id="g", network_name="docker_gwbridge", gateway="172.18.0.1", is_gateway=True, remote=None)
    sandbox = SandboxRecord(container_id="c", container_name="box", sandbox_id="s", endpoints=(ours, theirs))
    assert sandbox.gateway_endpoint() is theirs
    assert plan.all_gateways(sandbox) == []
    assert plan.all_gateways(plan.without_endpoint(sandbox, theirs)) == ["172.18.0.1"]


def test_ports_as_plugins_hear_of_them() -> None:
    assert ports.plugin_options(ports.PortWishes()) == {}
    assert ports.plugin_options(ports.PortWishes(exposed=("80/tcp",))) == {}
    wishes = ports.PortWishes({"53/udp": [PortBinding(host_ip="127.0.0.1", host_port="5300-5310")]}, ("80/tcp",))
    exposed, published = ports.plugin_options(wishes).values()
    assert exposed == [{"Proto": 17, "Port": 53}]
    assert published == [
        {"Proto": 17, "IP": "", "Port": 53, "HostIP": "127.0.0.1", "HostPort": 5300, "HostPortEnd": 5310}
    ]
    everything = ports.PortWishes({}, ("80/tcp",), publish_all=True)
    exposed, published = ports.plugin_options(everything).values()
    assert exposed == [{"Proto": 6, "Port": 80}]
    assert published == [{"Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 0, "HostPortEnd": 0}]


def test_a_network_without_addresses_of_its_own_gives_none() -> None:
    pools = (Pool(subnet="0.0.0.0/0", address_space="null"),)
    record = NetworkRecord(id="n", name="net", driver="plugin", created="", ipam_driver="null", pools=pools)
    assert Network(record, None).pools == []
