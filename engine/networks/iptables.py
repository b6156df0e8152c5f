"""The iptables and ip6tables backend: dockerd's chains, changed in process by python-iptables, one commit a table.

A change touches our own chains and the jumps to them; what others have in the same tables keeps its place and its
counters. The rules are those of ip_tables ("legacy"), which is what the library speaks.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import iptc

from ..errors import Internal
from .firewall import IPTABLES_NAMES, BridgeRules, EndpointRules, has_tables
from .iptablesrules import CHAINS, USER_CHAIN, Rule, base_rules, bridge_rules, endpoint_rules, host
from .xtables import register_translation

logger = logging.getLogger(__name__)

LOCK_PATH = "/run/xtables.lock"
RESOLVER_CHAIN = "DOCKER_OUTPUT"
DROPPED_CHAIN = "LIGHTSHIP-FORWARD-DROP"
"""It has no rules: that it is there says that the policy of FORWARD is our doing, not the administrator's."""
TABLES = {4: iptc.Table, 6: iptc.Table6}


class Iptables:
    """The `Firewall` on iptables and, for networks that have IPv6, ip6tables."""

    name = "iptables"

    def __init__(self, versions: Collection[int], *, through_input: bool = False) -> None:
        self._wanted, self._through_input = versions, through_input
        self._bridges: dict[str, BridgeRules] = {}
        self._endpoints: dict[str, EndpointRules] = {}
        self._has_ipv6 = False
        try:
            for table in CHAINS:
                iptc.Table(table, autocommit=False)
        except iptc.IPTCError as error:
            raise OSError(str(error)) from error

    def start(self, bridges: Collection[BridgeRules], endpoints: Collection[EndpointRules]) -> None:
        self._bridges = {bridge.name: bridge for bridge in bridges}
        self._endpoints = {endpoint.address: endpoint for endpoint in endpoints}
        self._has_ipv6 = has_tables(IPTABLES_NAMES[6]) and self._exists(6)
        self.restore()

    def drop_forwarding(self, version: int) -> None:
        with edited(version, "filter") as table:
            if not table.is_chain(DROPPED_CHAIN):
                table.create_chain(DROPPED_CHAIN)
            table.set_policy("FORWARD", "DROP")

    def add_bridge(self, bridge: BridgeRules) -> None:
        self._bridges[bridge.name] = bridge
        try:
            if bridge.subnet_ipv6 and not self._has_ipv6:
                self.restore()
            else:
                self._change(_of_bridge(bridge), _append)
        except BaseException:
            del self._bridges[bridge.name]
            raise

    def remove_bridge(self, bridge: BridgeRules) -> None:
        if self._bridges.pop(bridge.name, None) is not None:
            self._change(_of_bridge(bridge), _delete)

    def add(self, *endpoints: EndpointRules) -> None:
        for endpoint in endpoints:
            self._endpoints[endpoint.address] = endpoint
        try:
            self._change(_of_endpoints(endpoints), _insert)
        except BaseException:
            for endpoint in endpoints:
                del self._endpoints[endpoint.address]
            raise

    def remove(self, *endpoints: EndpointRules) -> None:
        known = [endpoint for endpoint in endpoints if self._endpoints.pop(endpoint.address, None) is not None]
        if known:
            self._change(_of_endpoints(known), _delete)

    def restore(self) -> None:
        self._has_ipv6 = self._has_ipv6 or any(bridge.subnet_ipv6 for bridge in self._bridges.values())
        for version in (version for version in self._wanted if version == 4 or self._has_ipv6):
            here = [bridge for bridge in self._bridges.values() if bridge.subnet_of(version)]
            rules = [rule for bridge in here for rule in bridge_rules(bridge, version)]
            own = [endpoint for endpoint in self._endpoints.values() if endpoint.version == version]
            ports = [rule for endpoint in own for rule in endpoint_rules(endpoint)]
            for name, chains in CHAINS.items():
                with edited(version, name) as table:
                    _write(
                        table, chains, [*base_rules(version, through_input=self._through_input), *rules], ports, version
                    )

    def close(self) -> None:
        for kind in TABLES.values():
            for name in CHAINS:
                # Left in the library's cache, a closed table would still be asked for its chains, and crash.
                table = kind._cache.pop(name, None)
                if table is not None:
                    table.close()

    def _change(self, rules: Sequence[tuple[int, Rule]], step: Callable[[iptc.Table, Rule, int], None]) -> None:
        """Apply a change; where the kernel's rules are not the ones remembered, put back the whole."""
        try:
            for version in TABLES:
                for name in CHAINS:
                    own = [rule for other, rule in rules if other == version and rule.table == name]
                    if own:
                        with edited(version, name) as table:
                            for rule in own:
                                step(table, rule, version)
        except Internal as error:
            logger.warning("the rules were changed by someone else, making them again: %s", error)
            self.restore()

    def _exists(self, version: int) -> bool:
        with edited(version, "filter") as table:
            return bool(table.is_chain("DOCKER-FORWARD"))


def clear() -> set[int]:
    """Remove all of ours but DOCKER-USER; return the families in which the policy of FORWARD was, and is no more."""
    opened = set()
    for version, names in IPTABLES_NAMES.items():
        for name in CHAINS if has_tables(names) else ():
            with edited(version, name) as table:
                if name == "filter" and table.is_chain(DROPPED_CHAIN):
                    table.set_policy("FORWARD", "ACCEPT")
                    table.delete_chain(DROPPED_CHAIN)
                    opened.add(version)
                _remove_chains(table, [chain for chain in CHAINS[name] if table.is_chain(chain)])
    return opened


def _remove_chains(table: iptc.Table, ours: Sequence[str]) -> None:
    for chain in table.chains:
        for rule in [rule for rule in chain.rules if rule.target.name in ours]:
            chain.delete_rule(rule)
    for name in ours:
        table.flush_entries(name)
    for name in ours:
        table.delete_chain(name)


def _of_bridge(bridge: BridgeRules) -> list[tuple[int, Rule]]:
    return [
        (version, rule) for version in TABLES if bridge.subnet_of(version) for rule in bridge_rules(bridge, version)
    ]


def _of_endpoints(endpoints: Collection[EndpointRules]) -> list[tuple[int, Rule]]:
    return [(endpoint.version, rule) for endpoint in endpoints for rule in endpoint_rules(endpoint)]


@contextmanager
def edited(version: int, name: str) -> Iterator[iptc.Table]:
    """Read a table to be changed, and put it back; others that use the lock wait meanwhile."""
    with _xtables_lock():
        try:
            table = TABLES[version](name, autocommit=False)
            table.refresh()
            yield table
            table.commit()
        except iptc.IPTCError as error:
            raise Internal(f"setting up iptables table {name} failed: {error}") from error


def redirect(address: str, *, udp: int, tcp: int) -> None:
    """In the calling thread's namespace, have port 53 of an address lead to these ports of it, whatever was before."""
    with edited(4, "nat") as table:
        if not table.is_chain(RESOLVER_CHAIN):
            table.create_chain(RESOLVER_CHAIN)
            iptc.Chain(table, "OUTPUT").insert_rule(
                _encode(Rule("nat", "OUTPUT", RESOLVER_CHAIN, destination=host(address)), 4)
            )
        table.flush_entries(RESOLVER_CHAIN)
        for protocol, port in (("udp", udp), ("tcp", tcp)):
            rule = Rule(
                "nat",
                RESOLVER_CHAIN,
                "DNAT",
                protocol=protocol,
                matches=((protocol, "dport", "53"),),
                to_destination=f"{address}:{port}",
            )
            iptc.Chain(table, RESOLVER_CHAIN).append_rule(_encode(rule, 4))


def _write(
    table: iptc.Table, chains: Collection[str], rules: Collection[Rule], ports: Collection[Rule], version: int
) -> None:
    """Empty our chains, or make them, and fill them; jumps from the kernel's own chains stay where they are."""
    wanted = [*chains, USER_CHAIN] if table.name == "filter" else chains
    for chain in wanted:
        if not table.is_chain(chain):
            table.create_chain(chain)
        elif chain != USER_CHAIN:
            table.flush_entries(chain)
    ours = [rule for rule in rules if rule.table == table.name]
    for rule in ours:
        if rule.chain in chains:
            _append(table, rule, version)
    for name in dict.fromkeys(rule.chain for rule in ours if rule.chain not in chains):
        _jump(iptc.Chain(table, name), [_encode(rule, version) for rule in ours if rule.chain == name])
    for rule in ports:
        if rule.table == table.name:
            _insert(table, rule, version)


def _jump(chain: iptc.Chain, jumps: Sequence[iptc.Rule]) -> None:
    """Have the jumps in a chain of the kernel's, in this order; where one is missing, at the top."""
    if [rule for rule in chain.rules if rule in jumps] == list(jumps):
        return
    for jump in reversed(jumps):
        while jump in chain.rules:
            chain.delete_rule(jump)
        chain.insert_rule(jump)


def _append(table: iptc.Table, rule: Rule, version: int) -> None:
    iptc.Chain(table, rule.chain).append_rule(_encode(rule, version))


def _insert(table: iptc.Table, rule: Rule, version: int) -> None:
    iptc.Chain(table, rule.chain).insert_rule(_encode(rule, version))


def _delete(table: iptc.Table, rule: Rule, version: int) -> None:
    iptc.Chain(table, rule.chain).delete_rule(_encode(rule, version))


def _encode(rule: Rule, version: int) -> iptc.Rule:
    register_translation()
    encoded = iptc.Rule() if version == 4 else iptc.Rule6()
    for attribute, value in (
        ("src", rule.source),
        ("dst", rule.destination),
        ("in_interface", rule.in_interface),
        ("out_interface", rule.out_interface),
        ("protocol", rule.protocol),
    ):
        if value:
            setattr(encoded, attribute, value)
    for module, option, value in rule.matches:
        negated = "!" if value.startswith("!") else ""
        encoded.create_match(module).set_parameter(option, negated + value.lstrip("!"))
    target = encoded.create_target(rule.target)
    if rule.to_destination:
        target.set_parameter("to-destination", rule.to_destination)
    if rule.to_source:
        target.set_parameter("to-source", rule.to_source)
    return encoded


@contextmanager
def _xtables_lock() -> Iterator[None]:
    """Hold the lock that iptables(8) takes."""
    lock_fd = os.open(LOCK_PATH, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock_fd)
