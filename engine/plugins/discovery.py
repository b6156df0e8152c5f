"""Where plugins are found: sockets and files in the directories that Docker's plugin discovery names.

Used by whoever needs a plugin that the engine does not run itself: volumes, networks and authorization.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from ..errors import Internal, NotFound
from .client import RETRY_DELAYS_S, Client

SOCKETS = Path("/run/docker/plugins")
SPECS = (Path("/etc/docker/plugins"), Path("/usr/lib/docker/plugins"))

C = TypeVar("C", bound=Client)
logger = logging.getLogger(__name__)


async def load(name: str, capability: str, kind: type[C], *, retry: bool) -> C:
    """Return the plugin of a name as a `kind`, once it has said that it has the capability; `retry` waits for it.

    Raises NotFound and Internal.
    """
    delays = list(RETRY_DELAYS_S) if retry else []
    while (plugin := _find(name, kind)) is None:
        if not delays:
            raise NotFound(f'plugin "{name}" not found')
        logger.warning("plugin %s: not found, looking again", name)
        await asyncio.sleep(delays.pop(0))
    try:
        implements = await plugin.activate(retry=retry)
    except Internal as error:
        raise Internal(f"legacy plugin: {error}") from error
    if capability not in implements:
        text = f'Plugin does not implement the requested driver: plugin="{name}", requested implementation'
        raise Internal(f'legacy plugin: {text}="{capability}"')
    return plugin


def scan() -> Iterator[str]:
    """Yield the names that the directories hold: `name.sock`, `name.spec`, `name.json`, also in a folder `name`."""
    for directory, suffixes in ((SOCKETS, (".sock",)), *((path, (".spec", ".json")) for path in SPECS)):
        try:
            entries = list(directory.iterdir())
        except OSError:
            continue
        for entry in entries:
            name = entry.name if entry.is_dir() else entry.stem
            if any(_is_there(path) for suffix in suffixes for path in _places(directory, name, suffix)):
                yield name


def _places(directory: Path, name: str, suffix: str) -> tuple[Path, Path]:
    return directory / f"{name}{suffix}", directory / name / f"{name}{suffix}"


def _is_there(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISSOCK(mode) if path.suffix == ".sock" else stat.S_ISREG(mode)


def _find(name: str, kind: type[C]) -> C | None:
    if not name or "/" in name or name in (".", ".."):
        return None
    for path in _places(SOCKETS, name, ".sock"):
        if _is_there(path):
            return kind(name, f"unix://{path}")
    for directory in SPECS:
        for suffix in (".spec", ".json"):
            for path in _places(directory, name, suffix):
                if _is_there(path):
                    return _read(name, path, kind)
    return None


def _read(name: str, path: Path, kind: type[C]) -> C:
    """Read the address from a file; a JSON one may tell of TLS too."""
    try:
        text = path.read_text()
        if path.suffix == ".json":
            told = json.loads(text)
            return kind(name, told.get("Addr") or "", _tls(told.get("TLSConfig")))
    except (OSError, ValueError) as error:
        raise Internal(f"{path}: {error}") from error
    address = text.strip()
    if not urlsplit(address).scheme:
        raise Internal("Unknown protocol")
    return kind(name, address)


def _tls(told: dict[str, object] | None) -> ssl.SSLContext | None:
    if told is None:
        return None
    authority = str(told.get("CAFile") or "")
    context = ssl.create_default_context(cafile=authority or None)
    if told.get("InsecureSkipVerify") or not authority:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if told.get("CertFile"):
        context.load_cert_chain(str(told["CertFile"]), str(told.get("KeyFile") or "") or None)
    return context
