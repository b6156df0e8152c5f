"""Where a reference's registry is: the endpoints to try, mirrors first, HTTPS before HTTP.

Plain HTTP is tried only with registries that are insecure by the configuration or by being on this host.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

from ...config import RegistryConfig
from ...errors import Internal, InvalidArgument
from ...numbers import natural
from ..references import DEFAULT_DOMAIN
from .credentials import Credentials

HUB = "https://registry-1.docker.io"
INDEX_HOST = "index.docker.io"
LOCAL_NETWORKS = ("::1/128", "127.0.0.0/8")
_NOT_IN_HOSTS = re.compile(r"[\x00-\x20\x7f\\^`{|}%[\]]")


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


def server_host(address: str) -> str:
    """Return the host and port of what a client logs in to, URL or host. Raises InvalidArgument, in Go's words."""
    url = address if address.startswith(("https://", "http://")) else f"https://{address}"
    host = re.split("[/?#]", url.split("://", 1)[1], maxsplit=1)[0].rpartition("@")[2]
    if host.startswith("["):
        literal, bracket, rest = host.rpartition("]")
        why = "missing ']' in host" if not bracket else _wrong_literal(literal[1:]) or _wrong_port(rest)
    elif found := _NOT_IN_HOSTS.search(host):
        why = f'invalid character "{found[0]}" in host name'
    else:
        why = _wrong_port(host[host.rfind(":") :] if ":" in host else "")
    if not host:
        raise Internal('Get "https:/v2/": http: no Host in request URL')
    try:
        urlsplit(f"https://{host}")
    except ValueError as error:  # characters that stand for several, of which one ends a host
        why = why or str(error)
    if why:
        raise InvalidArgument(f'unable to parse server address: parse "{url}": {why}')
    return host


def _wrong_literal(text: str) -> str:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return f'invalid host "[{text}]"'
    return ""


def _wrong_port(text: str) -> str:
    return "" if re.fullmatch(r"(:\d*)?", text) else f'invalid port "{text}" after host'


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
    is_insecure = await is_insecure_host(config, domain)
    port = domain.rpartition("]")[2].rpartition(":")[2]
    if port.isdecimal() and natural(port, below=1 << 16) is None:
        scheme = "http" if is_insecure else "https"
        raise Internal(f'Get "{scheme}://{domain}/v2/": dial tcp: address {port}: invalid port')
    if is_insecure:
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
    except (OSError, UnicodeError):  # the latter for what no name may hold
        return []
    return [ipaddress.ip_address(str(address[4][0]).partition("%")[0]) for address in found]
