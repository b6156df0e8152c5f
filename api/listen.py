"""The sockets that the API is served on: unix, TCP with TLS, and those that systemd hands over.

`main` opens them before the engine starts, so that a wrong address is told at once, and serves when it has.
"""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import socket
import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.utils import wrap_app

from .flags import UsageError
from .server import Connection

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from .settings import Settings

logger = logging.getLogger(__name__)

_DEFAULT_GROUP = "docker"
_FIRST_SYSTEMD_FD = 3
_BACKLOG = 1024
_HEAD_BYTES = 1 << 20
_BUFFER_BYTES = 256 * 1024


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Bind every host of the settings; raise UsageError where one cannot be."""
    found: list[socket.socket] = []
    for host in settings.hosts:
        scheme, separator, address = host.partition("://")
        try:
            if scheme == "unix" and separator:
                found.append(_unix_socket(Path(address or "/var/run/docker.sock"), settings.group))
            elif scheme == "tcp" and separator:
                found += _tcp_sockets(host, settings)
            elif scheme == "fd" and separator:
                found += _systemd_sockets()
            else:
                raise UsageError(f'invalid argument "{host}" for "-H, --host" flag: invalid bind address')
        except OSError as error:
            raise UsageError(f"failed to load listeners: {host}: {error}") from error
    return found


def _unix_socket(path: Path, group: str) -> socket.socket:
    group_id = _group_id(group)
    _remove_stale(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o777)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    if group_id is not None:
        os.chown(path, 0, group_id)
    os.chmod(path, 0o660)
    listener.listen(_BACKLOG)
    return listener


def _remove_stale(path: Path) -> None:
    """Take away the socket of a daemon that is gone; one that still answers is in use."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(f"{path} is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise OSError(f"{path} is in use by another daemon")
    path.unlink()


def _group_id(group: str) -> int | None:
    try:
        return int(group) if group.isdecimal() else grp.getgrnam(group or _DEFAULT_GROUP).gr_gid
    except KeyError:
        if group:
            raise OSError(f"group {group} not found") from None
        return None


def _tcp_sockets(host: str, settings: Settings) -> list[socket.socket]:
    if not settings.tlsverify and not settings.allow_unauthenticated_tcp:
        raise UsageError(
            f"refusing to listen on {host} without --tlsverify: whoever can connect would be root on this host; "
            "--allow-unauthenticated-tcp allows it"
        )
    parts = urlsplit(host)
    port = parts.port or (2376 if settings.uses_tls else 2375)
    found = []
    for family, kind, protocol, _, address in socket.getaddrinfo(
        parts.hostname or "localhost", port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    ):
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
        found.append(listener)
    return found


def _systemd_sockets() -> list[socket.socket]:
    """Take what systemd has opened for us (sd_listen_fds)."""
    count = int(os.environ.get("LISTEN_FDS", "0"))
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count:
        raise UsageError("no sockets found via socket activation: make sure the service was started by systemd")
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    found = [socket.socket(fileno=fd) for fd in range(_FIRST_SYSTEMD_FD, _FIRST_SYSTEMD_FD + count)]
    for listener in found:
        listener.set_inheritable(False)
    return found


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Make the server's TLS side; with `tlsverify` clients need a certificate of the CA."""
    if not settings.uses_tls:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        for path in (settings.tlscert, settings.tlskey):
            open(path, "rb").close()  # whose error, unlike the other's, says which file it is
        context.load_cert_chain(settings.tlscert, settings.tlskey)
    except OSError as error:
        pair = f'(cert: "{settings.tlscert}", key: "{settings.tlskey}")'
        raise UsageError(f"invalid TLS configuration: Could not load X509 key pair {pair}: {_reason(error)}") from error
    if settings.tlsverify:
        try:
            context.load_verify_locations(settings.tlscacert)
        except OSError as error:
            reason = f'could not read CA certificate "{settings.tlscacert}": {_reason(error)}'
            raise UsageError(f"invalid TLS configuration: {reason}") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _reason(error: OSError) -> str:
    return f"open {error.filename}: {(error.strerror or '').lower()}" if error.filename else str(error)


class Server:
    """Accepts connections and knows them until they close."""

    def __init__(self, app: Starlette) -> None:
        self._config = Config()
        self._config.include_date_header = self._config.include_server_header = False
        self._config.h11_max_incomplete_size = _HEAD_BYTES
        self._app = wrap_app(app, 0, "asgi")  # type: ignore[arg-type]
        self._context = WorkerContext(None)
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Connection, asyncio.Task[None]] = {}

    async def serve(self, sockets: list[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Start to accept; TLS is for TCP sockets."""
        for listener in sockets:
            is_unix = listener.family == socket.AF_UNIX
            if is_unix:
                server = await asyncio.start_unix_server(self._accept, sock=listener, limit=_BUFFER_BYTES)
            else:
                server = await asyncio.start_server(self._accept, sock=listener, limit=_BUFFER_BYTES, ssl=tls)
            self._servers.append(server)
            logger.info("API listen on %s", listener.getsockname())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        connection = Connection(self._app, loop, self._config, self._context, {}, reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        try:
            await connection.run()
        except asyncio.CancelledError:
            # Only `stop` cancels; asyncio would log it as an error of ours.
            logger.debug("a connection was ended before its response")
        finally:
            del self._connections[connection]

    async def stop(self, grace_s: float) -> None:
        """Accept no more, let requests that are being served end, then close what is left."""
        for server in self._servers:
            server.close()
        await self._context.terminated.set()
        for connection, task in tuple(self._connections.items()):
            if connection.is_idle:
                task.cancel()
        if waiting := tuple(self._connections.values()):
            await asyncio.wait(waiting, timeout=grace_s)
        for task in tuple(self._connections.values()):
            task.cancel()
        if waiting := tuple(self._connections.values()):
            await asyncio.wait(waiting)
