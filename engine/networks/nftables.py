"""The nftables backend: one table of ours a family, changed by libnftables in one transaction a container.

Ports are elements of maps: a change costs the same however many there are, and packets are looked up, not compared
rule by rule. A container without ports changes nothing. The text for the kernel is made by the functions at the end.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ..errors import Internal
from . import settings
from .firewall import BridgeRules, EndpointRules, is_any
from .records import PortBinding

logger = logging.getLogger(__name__)

_LIBRARY = "libnftables.so.1"
_RESOLVER_TABLE = "ip lightship-resolver"
VERSIONS = (4, 6)


@dataclass(frozen=True, slots=True)
class Family:
    """The words of one address family."""

    version: int
    name: str
    address: str
    loopback: str

    @property
    def table(self) -> str:
        return f"{self.name} lightship-bridges"


IPV4 = Family(4, "ip", "ipv4_addr", "127.0.0.0/8")
IPV6 = Family(6, "ip6", "ipv6_addr", "::1")
FAMILIES = {4: IPV4, 6: IPV6}


class Nftables:
    """The `Firewall` on nftables."""

    name = "nftables"

    def __init__(self, versions: Collection[int], *, through_input: bool = False) -> None:
        self._wanted, self._through_input = versions, through_input
        self._library = Library()
        self._library.run("list tables ip")
        self._bridges: dict[str, BridgeRules] = {}
        self._endpoints: dict[str, EndpointRules] = {}
        self._drop_forwarding: set[int] = set()
        self._has_ipv6 = False

    def start(self, bridges: Collection[BridgeRules], endpoints: Collection[EndpointRules]) -> None:
        self._bridges = {bridge.name: bridge for bridge in bridges}
        self._endpoints = {endpoint.address: endpoint for endpoint in endpoints}
        self._has_ipv6 = self._exists(IPV6)
        self._drop_forwarding = {version for version in VERSIONS if self._drops_forwarding(FAMILIES[version])}
        self.restore()

    def drop_forwarding(self, version: int) -> None:
        self._drop_forwarding.add(version)
        if version == 4 or self._has_ipv6:
            self._run(f"add chain {FAMILIES[version].table} forward {{ policy drop; }}\n")

    def add_bridge(self, bridge: BridgeRules) -> None:
        self._bridges[bridge.name] = bridge
        try:
            if bridge.subnet_ipv6 and not self._has_ipv6:
                self.restore()
            else:
                self._change("".join(bridge_commands(FAMILIES[version], bridge) for version in self._versions(bridge)))
        except BaseException:
            del self._bridges[bridge.name]
            raise

    def remove_bridge(self, bridge: BridgeRules) -> None:
        if self._bridges.pop(bridge.name, None) is not None:
            self._change("".join(removal_commands(FAMILIES[version], bridge) for version in self._versions(bridge)))

    def add(self, *endpoints: EndpointRules) -> None:
        for endpoint in endpoints:
            self._endpoints[endpoint.address] = endpoint
        try:
            self._change("".join(elements("add", endpoint) for endpoint in endpoints))
        except BaseException:
            for endpoint in endpoints:
                del self._endpoints[endpoint.address]
            raise

    def remove(self, *endpoints: EndpointRules) -> None:
        known = [endpoint for endpoint in endpoints if self._endpoints.pop(endpoint.address, None) is not None]
        if known:
            self._change("".join(elements("delete", endpoint) for endpoint in known))

    def restore(self) -> None:
        self._has_ipv6 = self._has_ipv6 or any(bridge.subnet_ipv6 for bridge in self._bridges.values())
        families = [FAMILIES[version] for version in self._wanted if version == 4 or self._has_ipv6]
        self._run(
            "".join(
                table(
                    family,
                    self._bridges.values(),
                    self._endpoints.values(),
                    drop_forwarding=family.version in self._drop_forwarding,
                    through_input=self._through_input,
                )
                for family in families
            )
        )

    def close(self) -> None:
        self._library.close()

    @staticmethod
    def _versions(bridge: BridgeRules) -> list[int]:
        return [version for version in VERSIONS if bridge.subnet_of(version)]

    def _change(self, commands: str) -> None:
        """Apply a change; where the kernel's state is not the one remembered, put back the whole."""
        try:
            self._library.run(commands)
        except OSError as error:
            logger.warning("the rules were changed by someone else, making them again: %s", error)
            self.restore()

    def _run(self, commands: str) -> None:
        try:
            self._library.run(commands)
        except OSError as error:
            raise Internal(f"setting up nftables failed: {error}") from error

    def _exists(self, family: Family) -> bool:
        try:
            return bool(self._library.run(f"list chain {family.table} forward"))
        except OSError:
            return False

    def _drops_forwarding(self, family: Family) -> bool:
        """Tell whether an earlier daemon closed forwarding: the host's setting no longer shows who opened it."""
        try:
            return "policy drop" in self._library.run(f"list chain {family.table} forward")
        except OSError:
            return False


def clear() -> set[int]:
    """Remove our tables; return the families in which they dropped what the host did not forward before."""
    dropped = set()
    library = Library()
    try:
        for family in FAMILIES.values():
            try:
                rules = library.run(f"list chain {family.table} forward")
            except OSError:
                continue
            library.run(f"delete table {family.table}")
            if "policy drop" in rules:
                dropped.add(family.version)
    finally:
        library.close()
    return dropped


class Library:
    """libnftables, with its output and errors kept apart from ours."""

    def __init__(self) -> None:
        library = ctypes.CDLL(_LIBRARY)
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
        library.nft_run_cmd_from_buffer.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
        for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
            getattr(library, name).argtypes = (ctypes.c_void_p,)
        for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
            getattr(library, name).argtypes = (ctypes.c_void_p,)
            getattr(library, name).restype = ctypes.c_char_p
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise OSError("nft_ctx_new failed")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        self._library = library

    def close(self) -> None:
        self._library.nft_ctx_free(self._context)

    def run(self, commands: str) -> str:
        """Run commands as one transaction and return what they print."""
        failed = self._library.nft_run_cmd_from_buffer(self._context, commands.encode())
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        error: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if failed:
            raise OSError(error.decode(errors="replace").strip().partition("\n")[0])
        return output.decode(errors="replace")


def redirect(address: str, *, udp: int, tcp: int) -> None:
    """In the calling thread's namespace, have port 53 of an address lead to these ports of it, whatever was before."""
    library = Library()
    try:
        library.run(
            f"add table {_RESOLVER_TABLE}\ndelete table {_RESOLVER_TABLE}\ntable {_RESOLVER_TABLE} {{\n"
            "chain output { type nat hook output priority -100; policy accept;\n"
            f"ip daddr {address} udp dport 53 dnat to {address}:{udp}\n"
            f"ip daddr {address} tcp dport 53 dnat to {address}:{tcp}\n"
            "}\n}\n"
        )
    except OSError as error:
        raise Internal(f"setting up the resolver's rules failed: {error}") from error
    finally:
        library.close()


def table(
    family: Family,
    bridges: Iterable[BridgeRules],
    endpoints: Iterable[EndpointRules],
    *,
    drop_forwarding: bool,
    through_input: bool = False,
) -> str:
    """Return the commands that replace the whole table in one transaction."""
    policy = "drop" if drop_forwarding else "accept"
    lines = [
        f"add table {family.table}",
        f"delete table {family.table}",
        f"table {family.table} {{",
        *_sets(family),
        *_translation(family, through_input=through_input),
        f"chain forward {{ type filter hook forward priority filter; policy {policy};",
        "iifname vmap @from-internal",
        "oifname vmap @to-bridge",
        "iifname @bridges accept",
        "}",
        "chain nat-postrouting { type nat hook postrouting priority srcnat; policy accept;",
        f"{family.name} saddr {family.loopback} oifname @bridges masquerade",
        # Containers go out as the host; one that uses a published port of its own bridge has the answers come back.
        f"{family.name} saddr . oifname @own ct status dnat masquerade",
        f"{family.name} saddr . oifname @own accept",
        f"snat {family.name} to {family.name} saddr map @seen-as",
        f"{family.name} saddr @masqueraded masquerade",
        "}",
        "}",
    ]
    text = "\n".join(lines) + "\n"
    text += "".join(bridge_commands(family, bridge) for bridge in bridges if bridge.subnet_of(family.version))
    return text + "".join(elements("add", endpoint) for endpoint in endpoints if endpoint.version == family.version)


def bridge_commands(family: Family, bridge: BridgeRules) -> str:
    """Return the commands that add a bridge to the table."""
    name = bridge.name
    chains = {f"in-{name}": _inbound(family, bridge)}
    if bridge.internal:
        chains[f"within-{name}"] = [f'oifname != "{name}" drop']
    commands = []
    for chain, rules in chains.items():
        commands += [f"add chain {family.table} {chain}", f"flush chain {family.table} {chain}"]
        commands += [f"add rule {family.table} {chain} {rule}" for rule in rules]
    commands += [f"add element {family.table} {element}" for element in _bridge_elements(family, bridge)]
    return "".join(f"{command}\n" for command in commands)


def removal_commands(family: Family, bridge: BridgeRules) -> str:
    """Return the commands that take a bridge out of the table."""
    chains = [f"in-{bridge.name}", *([f"within-{bridge.name}"] if bridge.internal else [])]
    commands = [f"delete element {family.table} {element}" for element in _bridge_elements(family, bridge)]
    commands += [f"delete chain {family.table} {chain}" for chain in chains]
    return "".join(f"{command}\n" for command in commands)


def elements(verb: str, endpoint: EndpointRules) -> str:
    """Return the commands that add or delete the ports of one endpoint."""
    target = FAMILIES[endpoint.version].table
    commands = []
    if endpoint.bindings and (endpoint.routed or endpoint.direct or endpoint.trusted):
        opened = {f"{endpoint.address} . {one.protocol} . {one.container_port}" for one in endpoint.bindings}
        commands.append(f"{verb} element {target} open {{ {', '.join(sorted(opened))} }}")
    if endpoint.routed:
        return "".join(f"{command}\n" for command in commands)
    everywhere = [_element(binding, endpoint.address) for binding in endpoint.bindings if is_any(binding.host_ip)]
    somewhere = [
        f"{binding.host_ip} . {_element(binding, endpoint.address)}"
        for binding in endpoint.bindings
        if not is_any(binding.host_ip)
    ]
    if everywhere:
        commands.append(f"{verb} element {target} ports {{ {', '.join(everywhere)} }}")
    if somewhere:
        commands.append(f"{verb} element {target} ports-at {{ {', '.join(somewhere)} }}")
    return "".join(f"{command}\n" for command in commands)


def _element(binding: PortBinding, address: str) -> str:
    return f"{binding.protocol} . {binding.host_port} : {address} . {binding.container_port}"


def _sets(family: Family) -> list[str]:
    address = family.address
    return [
        "set bridges { type ifname; }",
        "map from-internal { type ifname : verdict; }",
        "map to-bridge { type ifname : verdict; }",
        f"set own {{ type {address} . ifname; flags interval; }}",
        f"set masqueraded {{ type {address}; flags interval; }}",
        f"map seen-as {{ type {address} : {address}; flags interval; }}",
        f"map ports {{ type inet_proto . inet_service : {address} . inet_service; }}",
        f"map ports-at {{ type {address} . inet_proto . inet_service : {address} . inet_service; }}",
        f"set open {{ type {address} . inet_proto . inet_service; }}",
    ]


def _translation(family: Family, *, through_input: bool) -> list[str]:
    """What holds whatever the bridges are: who is translated by the ports."""
    by_containers = "iifname @bridges " if through_input else ""
    return [
        # 127.0.0.1 of the host is not for containers, although the bridge routes it for the answers to the host's own
        # connections.
        "chain raw-prerouting { type filter hook prerouting priority raw; policy accept;",
        f"{family.name} daddr {family.loopback} iifname @bridges drop",  # few packets get as far as the set
        "}",
        "chain published {",
        f"dnat {family.name} to {family.name} daddr . meta l4proto . th dport map @ports-at",
        f"dnat {family.name} to meta l4proto . th dport map @ports",
        "}",
        # What comes for 127.0.0.0/8 from another host is a lie; the kernel would drop it if it were not translated.
        "chain nat-prerouting { type nat hook prerouting priority dstnat; policy accept;",
        f"{by_containers}{family.name} daddr != {family.loopback} fib daddr type local jump published",
        "}",
        # The kernel routes 127.0.0.1 to bridges, but not ::1: there a client shall be refused and try the former.
        "chain nat-output { type nat hook output priority -100; policy accept;",
        f"{'' if family.version == 4 else 'ip6 daddr != ::1 '}fib daddr type local jump published",
        "}",
    ]


def _inbound(family: Family, bridge: BridgeRules) -> list[str]:
    """What comes to containers: answers, what a published port translated, their neighbours; nothing else."""
    mode = bridge.mode_of(family.version)
    rules = ["ct state established,related accept"]
    if bridge.accept_mark:
        mark, _, mask = bridge.accept_mark.partition("/")
        rules.append(f"meta mark and {mask} == {mark} accept")
    is_open = f"{family.name} daddr . meta l4proto . th dport @open accept"
    if bridge.opens(family.version):
        rules.append(is_open)
    elif bridge.trusted and not bridge.internal:
        names = ", ".join(f'"{name}"' for name in bridge.trusted)
        rules.append(f"iifname {{ {names} }} {is_open}")
    if mode == settings.ROUTED:
        rules.append("meta l4proto { icmp, ipv6-icmp } accept")
    elif not bridge.internal:
        rules.append("ct status dnat accept")
    if bridge.icc:
        rules.append(f'iifname "{bridge.name}" accept')
    return [*rules, "accept" if mode == settings.UNPROTECTED and not bridge.internal else "drop"]


def _bridge_elements(family: Family, bridge: BridgeRules) -> list[str]:
    name, subnet = bridge.name, bridge.subnet_of(family.version)
    found = [
        f'bridges {{ "{name}" }}',
        f'to-bridge {{ "{name}" : jump in-{name} }}',
        f'own {{ {subnet} . "{name}" }}',
    ]
    if bridge.internal:
        found.append(f'from-internal {{ "{name}" : jump within-{name} }}')
    elif bridge.translates(family.version):
        address = bridge.host_address_of(family.version)
        found.append(f"seen-as {{ {subnet} : {address} }}" if address else f"masqueraded {{ {subnet} }}")
    return found
