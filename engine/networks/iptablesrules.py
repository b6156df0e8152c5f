"""The rules of the iptables backend: dockerd's chains, and what is in them for bridges and published ports.

Users put rules of their own into DOCKER-USER, which is made but never emptied. Every other chain named here is ours.
Nothing here touches the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import settings
from .firewall import BridgeRules, EndpointRules, is_any
from .records import PortBinding

USER_CHAIN = "DOCKER-USER"
POSTROUTING_CHAIN = "LIGHTSHIP-POSTROUTING"
PREROUTING_CHAIN = "LIGHTSHIP-PREROUTING"
CHAINS = {
    "filter": ("DOCKER", "DOCKER-BRIDGE", "DOCKER-CT", "DOCKER-FORWARD", "DOCKER-INTERNAL",
               "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2"),
    "nat": ("DOCKER", POSTROUTING_CHAIN, PREROUTING_CHAIN),
    "raw": (PREROUTING_CHAIN,),
}  # fmt: skip
LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}

Match = tuple[str, str, str]
"""A module, its option and the option's value."""
_TRANSLATED = (("conntrack", "ctstate", "DNAT"),)
_NOT_TRANSLATED = (("conntrack", "ctstate", "!DNAT"),)
_KNOWN = (("conntrack", "ctstate", "RELATED,ESTABLISHED"),)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, with a leading `!` for what must not match."""

    table: str
    chain: str
    target: str
    source: str = ""
    destination: str = ""
    in_interface: str = ""
    out_interface: str = ""
    protocol: str = ""
    matches: tuple[Match, ...] = ()
    to_destination: str = ""
    to_source: str = ""

    def __str__(self) -> str:
        """Write the rule as iptables-save does."""
        parts = [
            ("-s", self.source),
            ("-d", self.destination),
            ("-i", self.in_interface),
            ("-o", self.out_interface),
            ("-p", self.protocol),
        ]
        words = [f"{'! ' if value[0] == '!' else ''}{flag} {value.lstrip('!')}" for flag, value in parts if value]
        words += [
            f"-m {module} {'! ' if value[0] == '!' else ''}--{option} {value.lstrip('!')}"
            for module, option, value in self.matches
        ]
        words.append(f"-j {self.target}")
        if self.to_destination:
            words.append(f"--to-destination {self.to_destination}")
        if self.to_source:
            words.append(f"--to-source {self.to_source}")
        return f"-A {self.chain} {' '.join(words)}"


def base_rules(version: int, *, through_input: bool = False) -> list[Rule]:
    """Return what leads from the kernel's chains to ours, and from ours to each other.

    With `through_input` only what comes from containers is translated by the ports, not what other hosts send.
    """
    published = PREROUTING_CHAIN if through_input else "DOCKER"
    local = (("addrtype", "dst-type", "LOCAL"),)
    return [
        Rule("filter", "FORWARD", USER_CHAIN),
        Rule("filter", "FORWARD", "DOCKER-FORWARD"),
        Rule("filter", "DOCKER-FORWARD", "DOCKER-CT"),
        Rule("filter", "DOCKER-FORWARD", "DOCKER-INTERNAL"),
        Rule("filter", "DOCKER-FORWARD", "DOCKER-ISOLATION-STAGE-1"),
        Rule("filter", "DOCKER-FORWARD", "DOCKER-BRIDGE"),
        # What comes for 127.0.0.0/8 from another host is a lie; the kernel drops it where it is not translated.
        Rule("nat", "PREROUTING", published, destination=f"!{LOOPBACK[version]}", matches=local),
        # The kernel routes 127.0.0.1 to bridges, but not ::1: there a client shall be refused and try the former.
        Rule("nat", "OUTPUT", "DOCKER", destination="" if version == 4 else f"!{LOOPBACK[6]}", matches=local),
        Rule("nat", "POSTROUTING", POSTROUTING_CHAIN),
        Rule("raw", "PREROUTING", PREROUTING_CHAIN),
    ]


def bridge_rules(bridge: BridgeRules, version: int) -> list[Rule]:
    """Return what holds for a bridge with everything on it."""
    name, others = bridge.name, f"!{bridge.name}"
    rules = [Rule("filter", "DOCKER-CT", "ACCEPT", out_interface=name, matches=_KNOWN)]
    if bridge.accept_mark:
        mark = (("mark", "mark", bridge.accept_mark),)
        rules.append(Rule("filter", "DOCKER-CT", "ACCEPT", out_interface=name, matches=mark))
    if bridge.internal:
        rules.append(Rule("filter", "DOCKER-INTERNAL", "DROP", in_interface=name, out_interface=others))
        rules.append(Rule("filter", "DOCKER-INTERNAL", "DROP", in_interface=others, out_interface=name))
    rules += [
        Rule("filter", "DOCKER-ISOLATION-STAGE-1", "DOCKER-ISOLATION-STAGE-2", in_interface=name, out_interface=others),
        Rule("filter", "DOCKER-BRIDGE", "DOCKER", out_interface=name),
        *_inbound(bridge, version),
    ]
    if not bridge.opens(version):
        # What a published port translated comes from anywhere.
        rules.append(Rule("filter", "DOCKER-ISOLATION-STAGE-2", "DROP", out_interface=name, matches=_NOT_TRANSLATED))
    if not bridge.icc:
        rules.append(Rule("filter", "DOCKER-FORWARD", "DROP", in_interface=name, out_interface=name))
    rules += [
        Rule("filter", "DOCKER-FORWARD", "ACCEPT", in_interface=name),
        # The host's own connections from 127.0.0.1, and those of containers to ports of their own bridge, need the
        # answers to come back this way.
        Rule("nat", POSTROUTING_CHAIN, "MASQUERADE", source=LOOPBACK[version], out_interface=name),
        Rule(
            "nat",
            POSTROUTING_CHAIN,
            "MASQUERADE",
            source=bridge.subnet_of(version),
            out_interface=name,
            matches=_TRANSLATED,
        ),
        Rule("raw", PREROUTING_CHAIN, "DROP", destination=LOOPBACK[version], in_interface=name),
    ]
    if bridge.through_input:
        rules.append(Rule("nat", PREROUTING_CHAIN, "DOCKER", in_interface=name))
    if bridge.translates(version):
        rules.append(
            Rule(
                "nat",
                POSTROUTING_CHAIN,
                "SNAT" if bridge.host_address_of(version) else "MASQUERADE",
                source=bridge.subnet_of(version),
                out_interface=others,
                to_source=bridge.host_address_of(version),
            )
        )
    return rules


def _inbound(bridge: BridgeRules, version: int) -> list[Rule]:
    """Containers are reached by what a published port translated, not by their addresses from elsewhere."""
    name, mode = bridge.name, bridge.mode_of(version)
    rules = []
    if mode == settings.ROUTED:
        icmp = "icmp" if version == 4 else "ipv6-icmp"
        rules.append(Rule("filter", "DOCKER", "ACCEPT", out_interface=name, protocol=icmp))
    elif not bridge.internal:
        rules.append(Rule("filter", "DOCKER", "ACCEPT", out_interface=name, matches=_TRANSLATED))
    if mode != settings.UNPROTECTED:
        rules.append(Rule("filter", "DOCKER", "DROP", in_interface=f"!{name}", out_interface=name))
    else:
        rules.append(Rule("filter", "DOCKER", "ACCEPT", in_interface=f"!{name}", out_interface=name))
    return rules


def endpoint_rules(endpoint: EndpointRules) -> list[Rule]:
    """Return the ports of one container."""
    rules = [] if endpoint.routed else [_translation(endpoint.address, binding) for binding in endpoint.bindings]
    links = ("",) if endpoint.routed or endpoint.direct else endpoint.trusted
    rules += dict.fromkeys(_opening(endpoint.address, binding, link) for binding in endpoint.bindings for link in links)
    return rules


def _opening(address: str, binding: PortBinding, link: str) -> Rule:
    return Rule(
        "filter",
        "DOCKER",
        "ACCEPT",
        destination=host(address),
        in_interface=link,
        protocol=binding.protocol,
        matches=((binding.protocol, "dport", str(binding.container_port)),),
    )


def _translation(address: str, binding: PortBinding) -> Rule:
    target = f"[{address}]" if ":" in address else address
    return Rule(
        "nat",
        "DOCKER",
        "DNAT",
        destination="" if is_any(binding.host_ip) else host(binding.host_ip),
        protocol=binding.protocol,
        matches=((binding.protocol, "dport", str(binding.host_port)),),
        to_destination=f"{target}:{binding.container_port}",
    )


def host(address: str) -> str:
    return f"{address}/128" if ":" in address else f"{address}/32"
