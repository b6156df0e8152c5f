"""Where a reference's registry is: the endpoints to try, mirrors first, HTTPS before HTTP.

Plain HTTP is tried only with registries that are insecure by the configuration or by being on this host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...config import RegistryConfig
from ..references import DEFAULT_DOMAIN
from .credentials import Credentials

HUB = "https://registry-1.docker.io"
INDEX_HOST = "index.docker.io"
LOCAL_NETWORKS = ("::1/128", "127.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base of a registry's API, without `/v2/`; `credentials` are sent instead of the client's."""

    url: str
    is_insecure: bool = False
    is_mirror: bool = False
    credentials: Credentials | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https:")


async def endpoints(
    config: RegistryConfig, domain: str, *, with_mirrors: bool, plain: Collection[str] = ()
) -> list[Endpoint]:
    """Return what to try for a domain, in order; `plain` are the insecure ones that were seen to speak HTTP."""
    found = []
    if with_mirrors:
        for mirror in config.mirrors_of(domain):
            host = urlsplit(mirror.url).netloc
            # Only a mirror of Docker Hub that is configured as in dockerd is trusted with the client's own.
            credentials = None if mirror.is_of_hub else Credentials(mirror.username, mirror.password)
            is_insecure = await is_insecure_host(config, host)
            found.append(Endpoint(mirror.url.rstrip("/"), is_insecure, is_mirror=True, credentials=credentials))
    if domain in (DEFAULT_DOMAIN, INDEX_HOST):
        return [*found, Endpoint(HUB)]
    if await is_insecure_host(config, domain):
        both = [Endpoint(f"https://{domain}", True), Endpoint(f"http://{domain}", True)]
        return [*found, *(reversed(both) if domain in plain else both)]
    return [*found, Endpoint(f"https://{domain}")]


async def is_insecure_host(config: RegistryConfig, host: str) -> bool:
    """Tell whether a host, with or without port, is named as insecure or has an address in an insecure network."""
    if host in config.insecure_hosts:
        return True
    networks = [ipaddress.ip_network(text, strict=False) for text in (*LOCAL_NETWORKS, *config.insecure_networks)]
    return any(address in network for address in await _addresses(host) for network in networks)


async def _addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        return [ipaddress.ip_address(name)]
    except ValueError:
        pass
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [ipaddress.ip_address(str(address[4][0]).partition("%")[0]) for address in found]
