"""The settings of registries, as flags and `daemon.json` give them.

`proxies` is an object in the file, as dockerd has it. `registries` is lightship's own: by a registry's domain, mirrors
with a path and credentials.

    "registries": {"ghcr.io": {"mirrors": [{"url": "https://cache.example/ghcr", "username": "u", "password": "p"}]}}
"""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..engine.config import Mirror

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.(?!:))?)+(?::[0-9]+)?|\[[A-Fa-f0-9:]+\](?::[0-9]+)?"
)
_PROXIES = {"http-proxy": "http_proxy", "https-proxy": "https_proxy", "no-proxy": "no_proxy"}


class _Mirror(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    username: str = ""
    password: str = ""


class _Registry(msgspec.Struct, forbid_unknown_fields=True):
    mirrors: list[_Mirror] = []


def read_mirror(text: str) -> str:
    """Check the URL of a mirror, in dockerd's words."""
    scheme, separator, _ = text.partition("://")
    if not separator or not scheme:
        raise ValueError(f"invalid mirror: no scheme specified for \"{text}\": must use either 'https://' or 'http://'")
    url = urlsplit(text)
    if url.scheme not in ("http", "https"):
        raise ValueError(
            f'invalid mirror: unsupported scheme "{url.scheme}" in "{text}": '
            "must use either 'https://' or 'http://'"
        )
    if url.query or url.fragment:
        raise ValueError(f'invalid mirror: query or fragment at end of the URI "{text}"')
    if url.username is not None:
        shown = f"{url.scheme}://{url.username}:xxxxx@{url.hostname}"
        raise ValueError(f'invalid mirror: username/password not allowed in URI "{shown}"')
    return text.removesuffix("/") + "/"


def read_insecure(text: str) -> str:
    """Check a host, with or without port, or a network."""
    text = text.removeprefix("http://").removeprefix("https://")
    if "://" in text:
        raise ValueError(f"insecure registry {text} should not contain '://'")
    if text.startswith("-") or text.endswith("-"):
        raise ValueError(f"invalid index name ({text}). Cannot begin or end with a hyphen")
    if "/" in text:
        try:
            return str(ipaddress.ip_network(text, strict=False))
        except ValueError:
            pass
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(text):
        raise ValueError(f'insecure registry {text} is not valid: invalid host "{host or text}"')
    if host and port.isdecimal() and int(port) > 65535:
        raise ValueError(f'insecure registry {text} is not valid: invalid port "{port}"')
    return text


def proxies(given: Any) -> dict[str, Any]:
    """Read the file's `proxies`; return settings by field."""
    try:
        values = msgspec.convert(given, dict[str, str])
    except msgspec.ValidationError as error:
        raise ValueError(f"proxies: {error}") from error
    if unknown := values.keys() - _PROXIES.keys():
        raise ValueError(f"the following directives don't match any configuration option: {', '.join(sorted(unknown))}")
    return {_PROXIES[name]: value for name, value in values.items()}


def mirrors(given: Any) -> dict[str, Any]:
    """Read the file's `registries`; return settings by field."""
    try:
        registries = msgspec.convert(given, dict[str, _Registry])
    except msgspec.ValidationError as error:
        raise ValueError(f"registries: {error}") from error
    found = {domain: tuple(_mirror(mirror) for mirror in registry.mirrors) for domain, registry in registries.items()}
    return {"mirrors": found}


def _mirror(given: _Mirror) -> Mirror:
    return Mirror(read_mirror(given.url).rstrip("/"), given.username, given.password)
