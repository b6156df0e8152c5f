"""The options of `lightshipd`: dockerd's flags and `daemon.json` keys, by the same names and with the same meaning.

`flags` reads them from the command line, `settings` from the file; both set what `target` names: a field of
`Settings`, of `EngineConfig` (`engine.…`) or of its bridge (`bridge.…`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engine.config import DEFAULT_HOST, Ulimit
from . import builders, networks, registries, runtimes
from .sizes import read_size

_LABEL = "[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
FEATURES = {"buildkit": True, "cdi": True, "containerd-snapshotter": False}
"""dockerd's features and whether they are there."""
_TRUE = {"1", "t", "T", "TRUE", "true", "True"}
_FALSE = {"0", "f", "F", "FALSE", "false", "False"}
ULIMITS = (
    "as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
    "rttime", "sigpending", "stack",
)  # fmt: skip


def read_boolean(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')
    return text in _TRUE


def read_integer(text: str) -> int:
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text)


def read_ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f'failed to parse IP: "{text}"') from None


def read_host(text: str) -> str:
    """Read where to listen: without a scheme it is an address for TCP."""
    scheme, separator, _ = text.partition("://")
    if not separator:
        return f"tcp://{text}" if text else DEFAULT_HOST
    if scheme not in ("unix", "tcp", "fd"):
        raise ValueError(f"invalid bind address ({text}): unsupported proto '{scheme}'")
    return text


def read_search_domain(text: str) -> str:
    domain = text.strip()
    if domain != "." and not (_DOMAIN.fullmatch(domain) and re.search("[a-zA-Z]", domain)):
        raise ValueError(f"{text} is not a valid domain")
    return domain


def read_runtime_option(text: str) -> str:
    """Read `native.cgroupdriver=systemd`: who makes the containers' control groups."""
    name, has_value, value = text.partition("=")
    if not has_value:
        raise ValueError(f"invalid exec-opt ({text}): must be formatted 'opt=value'")
    if name != "native.cgroupdriver":
        raise ValueError(f"invalid option: {name}")
    if value not in ("cgroupfs", "systemd"):
        raise ValueError(f"native.cgroupdriver option {value} not supported")
    return text


def read_feature(text: str) -> tuple[str, bool]:
    """Read `buildkit` or `buildkit=true`."""
    name, has_value, value = text.partition("=")
    return check_feature(name, read_boolean(value) if has_value else True)


def check_feature(name: str, is_on: bool) -> tuple[str, bool]:
    """A feature cannot be switched: it is there or it is not."""
    if name not in FEATURES:
        raise ValueError(f"unknown feature: {name}")
    if is_on != FEATURES[name]:
        raise ValueError(f"feature {name} is always {'on' if FEATURES[name] else 'off'}")
    return name, is_on


def read_label(text: str) -> str:
    if "=" not in text:
        raise ValueError(f"bad attribute format: {text}")
    return text


def read_pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def read_ulimit(text: str) -> tuple[str, Ulimit]:
    """Read `nofile=1024:2048`."""
    name, has_value, limits = text.partition("=")
    if not has_value:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in ULIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    soft, _, hard = limits.partition(":")
    limit = Ulimit(name, read_integer(soft), read_integer(hard or soft))
    if limit.hard != -1 and (limit.soft > limit.hard or limit.soft == -1):
        raise ValueError(f"ulimit soft limit must be less than or equal to hard limit: {limit.soft} > {limit.hard}")
    return name, limit


@dataclass(frozen=True, slots=True)
class Option:
    """One option. A `many` may be repeated, and is a list in the file; a `map` is an object there."""

    name: str
    target: str
    help: str
    read: Callable[[str], Any] = str
    short: str = ""
    key: str = ""
    many: bool = False
    map: bool = False
    document: Callable[[Any], dict[str, Any]] | None = None
    """Of an option that only the file has: what reads its value, as fields of the group that `target` names."""
    only: tuple[Any, ...] = ()
    """Where not all of dockerd's values are there yet: those that are."""

    @property
    def file_key(self) -> str:
        return self.key or self.name

    @property
    def is_boolean(self) -> bool:
        return self.read is read_boolean


def _flag(name: str, target: str, help: str, **more: Any) -> Option:
    return Option(name, target, help, read_boolean, **more)


OPTIONS: tuple[Option, ...] = (
    Option("host", "hosts", "Daemon socket(s) to connect to", read_host, short="H", key="hosts", many=True),
    Option("group", "group", "Group for the unix socket", short="G"),
    Option("config-file", "config_file", "Daemon configuration file"),
    Option("pidfile", "pidfile", "Path to use for daemon PID file", short="p"),
    Option("log-level", "log_level", "Set the logging level (debug, info, warn, error, fatal)", short="l"),
    Option("log-format", "log_format", "Set the logging format (text, json)"),
    _flag("raw-logs", "", "Full timestamps without colouring, as the log always has them", only=(True,)),
    _flag("debug", "engine.debug", "Enable debug mode", short="D"),
    _flag("validate", "validate", "Validate daemon configuration and exit"),
    _flag("tls", "tls", "Use TLS; implied by --tlsverify"),
    _flag("tlsverify", "tlsverify", "Use TLS and verify the remote"),
    Option("tlscacert", "tlscacert", "Trust certs signed only by this CA"),
    Option("tlscert", "tlscert", "Path to TLS certificate file"),
    Option("tlskey", "tlskey", "Path to TLS key file"),
    _flag(
        "allow-unauthenticated-tcp",
        "allow_unauthenticated_tcp",
        "Listen on tcp:// without verifying clients: whoever can connect is root on this host",
    ),
    Option(
        "authorization-plugin",
        "engine.authorization_plugins",
        "Authorization plugins to load",
        key="authorization-plugins",
        many=True,
    ),
    Option("data-root", "engine.data_root", "Root directory of persistent state", Path),
    Option("exec-root", "engine.exec_root", "Root directory for execution state files", Path),
    Option("bridge", "bridge.name", "Attach containers to a network bridge", short="b"),
    Option("bip", "bridge.bip", "IPv4 address for the default bridge"),
    Option("bip6", "bridge.bip6", "IPv6 address for the default bridge"),
    Option("fixed-cidr", "bridge.fixed_cidr", "IPv4 subnet for the default bridge network"),
    Option("default-gateway", "bridge.default_gateway", "Default gateway of the default bridge network", read_ip),
    Option(
        "default-gateway-v6",
        "bridge.default_gateway_v6",
        "Default gateway IPv6 address of the default bridge network",
        read_ip,
    ),
    Option("mtu", "bridge.mtu", "Set the MTU for the default bridge network", read_integer),
    Option("ip", "bridge.default_binding_ip", "Host IP for port publishing from the default bridge", read_ip),
    _flag("icc", "bridge.icc", "Enable inter-container communication for the default bridge network"),
    _flag("ip-masq", "bridge.ip_masq", "Enable IP masquerading for the default bridge network"),
    _flag("ip-forward", "bridge.ip_forward", "Enable IP forwarding in system configuration"),
    _flag("ip-forward-no-drop", "bridge.ip_forward_no_drop", "Keep the filter-FORWARD policy when forwarding is set"),
    _flag("iptables", "bridge.iptables", "Enable addition of firewall rules"),
    _flag("ip6tables", "bridge.ip6tables", "Enable addition of firewall rules for IPv6"),
    Option("firewall-backend", "engine.firewall_backend", "Firewall backend to use (auto, iptables, nftables)"),
    Option("dns", "engine.dns", "DNS server to use", read_ip, many=True),
    Option("dns-opt", "engine.dns_opts", "DNS options to use", key="dns-opts", many=True),
    Option("dns-search", "engine.dns_search", "DNS search domains to use", read_search_domain, many=True),
    Option(
        "host-gateway-ip",
        "engine.host_gateway_ips",
        "IP addresses that 'host-gateway' in --add-host stands for",
        read_ip,
        key="host-gateway-ips",
        many=True,
    ),
    Option("label", "engine.labels", "Set key=value labels to the daemon", read_label, key="labels", many=True),
    Option("log-driver", "engine.log_driver", "Default driver for container logs"),
    Option("log-opt", "engine.log_opts", "Default log driver options", read_pair, key="log-opts", map=True),
    Option("default-ulimit", "engine.default_ulimits", "Default ulimits", read_ulimit, key="default-ulimits", map=True),
    Option("default-shm-size", "engine.default_shm_size", "Default shm size for containers", read_size),
    Option("default-ipc-mode", "engine.default_ipc_mode", "Default ipc mode of containers (shareable, private)"),
    Option("default-cgroupns-mode", "engine.default_cgroupns_mode", "Default cgroup namespace (host, private)"),
    Option("default-stop-timeout", "engine.default_stop_timeout_s", "Default container stop timeout", read_integer),
    Option("cgroup-parent", "engine.cgroup_parent", "Set parent cgroup for all containers"),
    Option(
        "add-runtime",
        "engine.runtimes",
        "Register an additional OCI compatible runtime (name=path)",
        runtimes.read_flag,
        key="runtimes",
        map=True,
    ),
    Option("default-runtime", "engine.default_runtime", "Default OCI runtime for containers"),
    _flag("init", "engine.init", "Run an init in the container to forward signals and reap processes"),
    Option("init-path", "engine.init_path", "Path to the docker-init binary"),
    _flag("no-new-privileges", "engine.no_new_privileges", "Set no-new-privileges by default for new containers"),
    Option(
        "cdi-spec-dir", "engine.cdi_spec_dirs", "CDI specification directories to use", key="cdi-spec-dirs", many=True
    ),
    Option("userns-remap", "engine.userns_remap", "User/Group setting for user namespaces"),
    Option("seccomp-profile", "engine.seccomp_profile", "Path to seccomp profile, or unconfined"),
    _flag("live-restore", "engine.live_restore", "Keep containers running while the daemon is stopped"),
    Option("shutdown-timeout", "engine.shutdown_timeout_s", "Set the default shutdown timeout", read_integer),
    Option(
        "registry-mirror",
        "registry.hub_mirrors",
        "Preferred registry mirror",
        registries.read_mirror,
        key="registry-mirrors",
        many=True,
    ),
    Option(
        "insecure-registry",
        "registry.insecure",
        "Enable insecure registry communication",
        registries.read_insecure,
        key="insecure-registries",
        many=True,
    ),
    Option(
        "max-concurrent-downloads",
        "registry.max_concurrent_downloads",
        "Set the max concurrent downloads",
        read_integer,
    ),
    Option(
        "max-concurrent-uploads",
        "registry.max_concurrent_uploads",
        "Set the max concurrent uploads",
        read_integer,
    ),
    Option(
        "max-download-attempts",
        "registry.max_download_attempts",
        "Set the max download attempts for each pull",
        read_integer,
    ),
    Option("http-proxy", "registry.http_proxy", "HTTP proxy URL to use for outgoing traffic"),
    Option("https-proxy", "registry.https_proxy", "HTTPS proxy URL to use for outgoing traffic"),
    Option("no-proxy", "registry.no_proxy", "Hosts and IPs for which the proxy is skipped"),
    Option("proxies", "registry.", "Proxies, by flag", document=registries.proxies),
    Option("registries", "registry.", "Mirrors, by registry", document=registries.mirrors),
    Option("builder", "engine.", "Settings of the builder", document=builders.document),
    _flag("experimental", "engine.experimental", "Enable experimental features"),
    _flag("userland-proxy", "bridge.userland_proxy", "Serve published ports that the firewall's rules do not carry"),
    _flag("ipv6", "bridge.ipv6", "Enable IPv6 networking for the default bridge network"),
    Option("fixed-cidr-v6", "bridge.fixed_cidr_v6", "IPv6 subnet for the default bridge network"),
    Option(
        "default-address-pool",
        "engine.default_address_pools",
        "Default address pools for networks (base=SUBNET,size=PREFIX)",
        networks.read_address_pool,
        key="default-address-pools",
        many=True,
    ),
    _flag(
        "published-ports-through-input",
        "bridge.published_ports_through_input",
        "Let the host's input rules decide who reaches published ports from outside",
    ),
    Option(
        "default-network-opt",
        "engine.default_network_opts",
        "Default network options (driver=option=value)",
        networks.read_default_option,
        key="default-network-opts",
        map=True,
    ),
    Option(
        "bridge-accept-fwmark",
        "bridge.accept_mark",
        "In bridge networks, accept packets with this firewall mark/mask",
        networks.read_mark,
    ),
    _flag(
        "allow-direct-routing",
        "bridge.allow_direct_routing",
        "Allow remote access to published ports on container IP addresses",
    ),
    Option(
        "exec-opt",
        "engine.exec_opts",
        "Runtime execution options (native.cgroupdriver=cgroupfs or systemd)",
        read_runtime_option,
        key="exec-opts",
        many=True,
    ),
    Option("feature", "", "Features, none of which can be switched", read_feature, key="features", map=True),
    _flag("selinux-enabled", "", "Enable selinux support", only=(False,)),
    Option("storage-driver", "engine.storage_driver", "Storage driver to use", short="s"),
)

BY_NAME = {option.name: option for option in OPTIONS}
NOT_NEGATIVE = ("max-concurrent-downloads", "max-concurrent-uploads", "max-download-attempts")
BY_SHORT = {option.short: option for option in OPTIONS if option.short}
BY_KEY = {option.file_key: option for option in OPTIONS if option.name not in ("config-file", "validate")}
CHOICES: dict[str, tuple[str, ...]] = {
    "firewall-backend": ("auto", "", "iptables", "nftables"),
    "log-format": ("", "text", "json"),
    "log-level": ("debug", "info", "warn", "error", "fatal"),
    "default-ipc-mode": ("private", "shareable"),
    "default-cgroupns-mode": ("", "host", "private"),
}
NOT_YET = frozenset((
    "containerd", "containerd-namespace",
    "containerd-plugins-namespace", "cpu-rt-period", "cpu-rt-runtime", "cri-containerd",
    "metrics-addr", "network-control-plane-mtu",
    "node-generic-resource", "node-generic-resources", "nri-opts",
    "rootless", "storage-opt", "storage-opts", "swarm-default-advertise-addr",
    "userland-proxy-path",
))  # fmt: skip
"""dockerd's other flags and keys, so that they are refused as what they are and not as mistyped."""
