"""A plugin of the old protocol that makes networks, gives out addresses, or both.

Its networks are bridges in the engine's network namespace, its endpoints pairs whose one end is on the bridge. It
writes down what it is asked, and fails or answers otherwise where a test wants it to.
"""

from __future__ import annotations

import subprocess
from ipaddress import ip_address, ip_network
from typing import Any

from .namespaces import NetNS
from .socket_plugin import SocketPlugin

NETWORK, IPAM = "NetworkDriver", "IpamDriver"
BRIDGE = "plugged"


class NetworkPlugin(SocketPlugin):
    """One plugin, of networks, addresses or both (`implements`); `changes` are laid over its answers, by method."""

    def __init__(self, name: str, host: NetNS, *implements: str) -> None:
        super().__init__(name)
        self.implements = list(implements or (NETWORK, IPAM))
        self.failures: dict[str, str] = {}
        self.changes: dict[str, dict[str, Any]] = {}
        self.codes: dict[str, int] = {}
        self.raw: dict[str, bytes] = {}
        self.gateway, self.prefix = True, "eth"
        self.taken: dict[str, set[str]] = {}
        """The addresses in use, by pool."""
        self._namespace = f"--net={host.path}"
        self._links: dict[str, str] = {}

    def behave(self) -> None:
        """Answer again as one that works."""
        for kind in (self.failures, self.changes, self.codes, self.raw):
            kind.clear()

    def clear(self) -> None:
        """Remove the links of what it was not asked to remove."""
        for link in self._links.values():
            self._remove(link)
        self._filter_bridges(True)

    def asked(self, *methods: str) -> list[dict[str, Any]]:
        """What came with calls of these methods, written without the driver's name."""
        return [request for called, request in self.calls if called.partition(".")[2] in methods]

    def order(self, since: int = 0) -> list[str]:
        """The methods that were called, without those that only look."""
        return [called for called, _ in self.calls[since:] if not called.endswith(("Capabilities", "Activate"))]

    def reply(self, method: str, request: dict[str, Any]) -> tuple[int, bytes]:
        verb = method.partition(".")[2]
        if verb in self.raw:
            return self.codes.get(verb, 200), self.raw[verb]
        return super().reply(method, request)

    def answer(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        if method == "Plugin.Activate":
            return {"Implements": self.implements}
        driver, _, verb = method.partition(".")
        if verb in self.failures:
            return {"Err" if driver == NETWORK else "Error": self.failures[verb]}
        found: dict[str, Any] = (
            getattr(self, f"_network_{verb}", _nothing)(request)
            if driver == NETWORK
            else getattr(self, f"_ipam_{verb}")(request)
        )
        return {**found, **self.changes.get(method, {})}

    # -- networks -----------------------------------------------------------------------------------------------------

    def _network_GetCapabilities(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the protocol's name
        return {"Scope": "local", "ConnectivityScope": "local"}

    def _network_CreateNetwork(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        bridge = f"{BRIDGE}{request['NetworkID'][:6]}"
        self._ip("link", "add", bridge, "type", "bridge")
        for data in [*request["IPv4Data"], *request["IPv6Data"]]:
            if data.get("Gateway"):
                self._ip("address", "add", data["Gateway"], "dev", bridge, "nodad")
        self._ip("link", "set", bridge, "up")
        self._filter_bridges(False)
        self._links[request["NetworkID"]] = bridge
        return {}

    def _network_DeleteNetwork(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self._remove(self._links.pop(request["NetworkID"], ""))
        self._filter_bridges(True)
        return {}

    def _network_Join(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        link = request["EndpointID"][:7]
        bridge = self._links[request["NetworkID"]]
        self._ip("link", "add", f"h{link}", "type", "veth", "peer", "name", f"c{link}")
        self._ip("link", "set", f"h{link}", "master", bridge, "up")
        self._links[request["EndpointID"]] = f"c{link}"
        answer: dict[str, Any] = {"InterfaceName": {"SrcName": f"c{link}", "DstPrefix": self.prefix}}
        for created in self.asked("CreateNetwork") if self.gateway else ():
            if created["NetworkID"] == request["NetworkID"]:
                for family, key in (("IPv4Data", "Gateway"), ("IPv6Data", "GatewayIPv6")):
                    for data in created[family]:
                        answer[key] = data.get("Gateway", "").partition("/")[0]
        return answer

    def _network_DeleteEndpoint(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """Remove the pair by the end that was in the container, which must have come back."""
        self._remove(self._links.pop(request["EndpointID"], ""))
        return {}

    # -- addresses ----------------------------------------------------------------------------------------------------

    def _ipam_GetCapabilities(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"RequiresMACAddress": False, "RequiresRequestReplay": False}

    def _ipam_GetDefaultAddressSpaces(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"LocalDefaultAddressSpace": "theirlocal", "GlobalDefaultAddressSpace": "theirglobal"}

    def _ipam_RequestPool(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        pool = request["Pool"] or ("fd99:7::/64" if request["V6"] else "10.77.0.0/24")
        self.taken.setdefault(f"pool {pool}", set())
        return {"PoolID": f"pool {pool}", "Pool": pool, "Data": {"made": "by the plugin"}}

    def _ipam_ReleasePool(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        if self.taken.get(request["PoolID"]):
            return {"Error": "addresses of it are in use"}
        self.taken.pop(request["PoolID"], None)
        return {}

    def _ipam_RequestAddress(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        taken, pool = self.taken[request["PoolID"]], ip_network(request["PoolID"].removeprefix("pool "))
        wanted = request["Address"]
        if wanted in taken:
            return {"Error": f"{wanted} is taken"}
        offset = 1
        while not wanted or wanted in taken:
            wanted, offset = str(ip_address(int(pool.network_address) + offset)), offset + 1
        taken.add(wanted)
        return {"Address": f"{wanted}/{pool.prefixlen}", "Data": {}}

    def _ipam_ReleaseAddress(self, request: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.taken[request["PoolID"]].discard(request["Address"])
        return {}

    # -- links --------------------------------------------------------------------------------------------------------

    def _ip(self, *args: str) -> None:
        subprocess.run(["nsenter", self._namespace, "ip", *args], check=True, capture_output=True)

    def _filter_bridges(self, is_on: bool) -> None:
        """Say whether the host's firewall, which forwards for nobody but the engine, sees what passes bridges."""
        setting = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        command = f"test ! -e {setting} || echo {int(is_on)} >{setting}"
        subprocess.run(["nsenter", self._namespace, "sh", "-c", command], check=True)

    def _remove(self, link: str) -> None:
        """Remove a link that may have ended with its container."""
        if link:
            subprocess.run(["nsenter", self._namespace, "ip", "link", "del", link], capture_output=True)


def _nothing(request: dict[str, Any]) -> dict[str, Any]:
    return {}
