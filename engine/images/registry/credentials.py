"""What a client is known by at a registry, as the CLI sends it: the headers X-Registry-Auth and X-Registry-Config.

Nothing here, nor its `repr`, shows a secret.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from ..references import DEFAULT_DOMAIN

INDEX_SERVER = "https://index.docker.io/v1/"
T = TypeVar("T")


class Credentials(msgspec.Struct, frozen=True, rename="lower"):
    """An AuthConfig. All empty is an anonymous client."""

    username: str = ""
    password: str = ""
    identity_token: str = msgspec.field(default="", name="identitytoken")
    registry_token: str = msgspec.field(default="", name="registrytoken")
    server_address: str = msgspec.field(default="", name="serveraddress")
    auth: str = ""

    def __repr__(self) -> str:
        return f"Credentials({'anonymous' if self.is_anonymous else 'secret'})"

    @property
    def is_anonymous(self) -> bool:
        return not (self.username or self.identity_token or self.registry_token)

    def basic(self) -> str:
        """Return the header of basic authentication."""
        return f"Basic {base64.b64encode(f'{self.username}:{self.password}'.encode()).decode()}"


ANONYMOUS = Credentials()


def decode(header: str) -> Credentials:
    """Read X-Registry-Auth; what cannot be read is no credentials, as in dockerd."""
    return _whole(_decoded(header, Credentials) or ANONYMOUS)


def decode_config(header: str) -> dict[str, Credentials]:
    """Read X-Registry-Config: credentials by registry."""
    found = _decoded(header, dict[str, Credentials]) or {}
    return {address: _whole(credentials) for address, credentials in found.items()}


def for_domain(config: Mapping[str, Credentials], domain: str) -> Credentials:
    """Find a registry's credentials by its host, or by an older client's URL of it."""
    if domain == DEFAULT_DOMAIN:
        return config.get(INDEX_SERVER) or config.get(DEFAULT_DOMAIN) or ANONYMOUS
    if domain in config:
        return config[domain]
    return next((found for address, found in config.items() if hostname(address) == domain), ANONYMOUS)


def hostname(address: str) -> str:
    """Return the host, with its port, of a server address that may be a URL."""
    return address.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _decoded(header: str, wanted: type[T]) -> T | None:
    try:
        data = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
        return msgspec.json.decode(data, type=wanted) if data else None
    except (binascii.Error, ValueError, msgspec.DecodeError):
        return None


def _whole(credentials: Credentials) -> Credentials:
    """Take name and password out of `auth`, where only that is given."""
    if credentials.auth and not credentials.username:
        try:
            name, _, password = base64.b64decode(credentials.auth).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return credentials
        return msgspec.structs.replace(credentials, username=name, password=password, auth="")
    return credentials
