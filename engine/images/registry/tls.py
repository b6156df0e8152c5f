"""TLS as the configuration wants it for a registry: the host's CAs, and what certs.d has for the host."""

from __future__ import annotations

import ssl
from pathlib import Path

from ...errors import Internal, InvalidArgument


def context(host: str, *, is_insecure: bool, certs_dir: Path) -> ssl.SSLContext:
    """Make the context for a host (with its port). Takes tens of milliseconds where the host's CAs are read."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    if is_insecure:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
    else:
        made.load_default_certs()
    directory = certs_dir / host
    try:
        names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
        for name in names:
            if name.endswith(".crt"):
                made.load_verify_locations(directory / name)
            elif name.endswith(".cert"):
                _load_pair(made, directory, name, names)
            elif name.endswith(".key") and f"{name.removesuffix('.key')}.cert" not in names:
                raise InvalidArgument(f"missing client certificate {name.removesuffix('.key')}.cert for key {name}")
    except (OSError, ssl.SSLError) as error:
        raise Internal(f"reading the certificates of {host} in {directory}: {error}") from error
    return made


def _load_pair(made: ssl.SSLContext, directory: Path, name: str, names: list[str]) -> None:
    key = f"{name.removesuffix('.cert')}.key"
    if key not in names:
        raise InvalidArgument(
            f"missing key {key} for client certificate {name}. CA certificates must use the extension .crt"
        )
    made.load_cert_chain(directory / name, directory / key)
