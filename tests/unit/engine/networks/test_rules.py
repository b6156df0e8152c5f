"""Rule sets of both firewall backends for a table of configurations, against golden files.

`LIGHTSHIP_UPDATE_GOLDEN=1 pytest tests/unit/engine/networks/test_rules.py` writes them anew.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from lightship.engine.networks import iptablesrules, nftables
from lightship.engine.networks.firewall import BridgeRules, EndpointRules
from lightship.engine.networks.records import PortBinding

GOLDEN = Path(__file__).parent / "golden"

DEFAULT = BridgeRules("docker0", "172.17.0.0/16")
CLOSED = BridgeRules("br-closed", "10.5.0.0/24", icc=False, masquerade=False)
INTERNAL = BridgeRules("br-inside", "10.6.0.0/24", "fd00:6::/64", internal=True)
ROUTED = BridgeRules("br-routed", "10.7.0.0/24", "fd00:7::/64", modes=("routed", "nat-unprotected"))
SEEN_AS = BridgeRules("br-seen", "10.8.0.0/24", host_addresses=("192.0.2.1", ""))
DIRECT = BridgeRules("br-direct", "10.9.0.0/24", direct=True)
TRUSTED = BridgeRules("br-trusted", "10.10.0.0/24", trusted=("eth1", "vpn0"), accept_mark="0x1/0xff")
PORTS = (
    PortBinding(protocol="tcp", container_port=80, host_ip="0.0.0.0", host_port=8080),
    PortBinding(protocol="udp", container_port=53, host_ip="0.0.0.0", host_port=5300),
    PortBinding(protocol="tcp", container_port=81, host_ip="127.0.0.1", host_port=8081),
    PortBinding(protocol="sctp", container_port=82, host_ip="192.0.2.1", host_port=8082),
)
PLAIN = EndpointRules("172.17.0.2", ())
PUBLISHED = EndpointRules("172.17.0.3", PORTS)

DIRECT_PORTS = EndpointRules("10.9.0.2", PORTS[:2], direct=True)
ROUTED_PORTS = EndpointRules(
    "10.7.0.2", (PortBinding(protocol="tcp", container_port=80, host_ip="0.0.0.0", host_port=0),), routed=True
)
PUBLISHED_IPV6 = EndpointRules(
    "fd00:7::2",
    (
        PortBinding(protocol="tcp", container_port=80, host_ip="::", host_port=8080),
        PortBinding(protocol="tcp", container_port=81, host_ip="::1", host_port=8081),
    ),
)

CONFIGURATIONS: dict[str, tuple[list[BridgeRules], list[EndpointRules]]] = {
    "no-bridge": ([], []),
    "default-bridge": ([DEFAULT], []),
    "closed-bridge": ([CLOSED], []),
    "two-bridges": ([DEFAULT, CLOSED], [PLAIN]),
    "endpoint": ([DEFAULT], [PLAIN]),
    "published-ports": ([DEFAULT], [PLAIN, PUBLISHED]),
    "internal-bridge": ([DEFAULT, INTERNAL], []),
    "routed-bridge": ([ROUTED], [ROUTED_PORTS, PUBLISHED_IPV6]),
    "seen-as-another": ([SEEN_AS], []),
    "direct-routing": ([DIRECT], [DIRECT_PORTS]),
    "trusted-links": ([TRUSTED], [EndpointRules("10.10.0.2", PORTS[:2], trusted=TRUSTED.trusted)]),
}


def compare(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("LIGHTSHIP_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_nftables(name: str) -> None:
    bridges, endpoints = CONFIGURATIONS[name]
    families = (nftables.IPV4, nftables.IPV6) if any(bridge.subnet_ipv6 for bridge in bridges) else (nftables.IPV4,)
    tables = [nftables.table(family, bridges, endpoints, drop_forwarding=False) for family in families]
    compare(f"{name}.nft", "".join(tables))


def test_nftables_that_drops_what_the_host_did_not_forward_before() -> None:
    compare("drop-forwarding.nft", nftables.table(nftables.IPV4, [DEFAULT], [], drop_forwarding=True))


def test_published_ports_through_the_hosts_input_rules() -> None:
    text = nftables.table(nftables.IPV4, [DEFAULT], [PUBLISHED], drop_forwarding=False, through_input=True)
    compare("through-input.nft", text)
    bridge = dataclasses.replace(DEFAULT, through_input=True)
    rules = [*iptablesrules.base_rules(4, through_input=True), *iptablesrules.bridge_rules(bridge, 4)]
    compare("through-input.iptables", "".join(f"{rule}\n" for rule in rules if rule.table == "nat"))


def test_nftables_change_of_one_bridge() -> None:
    compare("add-bridge.nft", nftables.bridge_commands(nftables.IPV4, INTERNAL))
    compare("remove-bridge.nft", nftables.removal_commands(nftables.IPV4, INTERNAL))


@pytest.mark.parametrize("verb", ["add", "delete"])
def test_nftables_change_of_one_endpoint(verb: str) -> None:
    compare(f"{verb}-endpoint.nft", nftables.elements(verb, PUBLISHED))


def test_nftables_change_is_a_command_a_map_however_many_ports() -> None:
    many = tuple(
        PortBinding(protocol="tcp", container_port=port, host_ip="0.0.0.0", host_port=port) for port in range(1, 501)
    )
    assert len(nftables.elements("add", EndpointRules("172.17.0.4", many)).splitlines()) == 1


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_iptables(name: str) -> None:
    bridges, endpoints = CONFIGURATIONS[name]
    lines = []
    for version in (4, 6) if any(bridge.subnet_ipv6 for bridge in bridges) else (4,):
        rules = iptablesrules.base_rules(version)
        here = [bridge for bridge in bridges if bridge.subnet_of(version)]
        rules += [rule for bridge in here for rule in iptablesrules.bridge_rules(bridge, version)]
        own = [endpoint for endpoint in endpoints if endpoint.version == version]
        rules += [rule for endpoint in own for rule in iptablesrules.endpoint_rules(endpoint)]
        lines += [
            line
            for table in iptablesrules.CHAINS
            for line in (f"*{table}", *(str(rule) for rule in rules if rule.table == table), "COMMIT")
        ]
    compare(f"{name}.iptables", "\n".join(lines) + "\n")
