"""`lightshipd`: reads the settings, opens the sockets, starts the engine, serves, and stops it all on a signal.

Nothing here knows what an operation does. What takes time to import is imported when it is needed, so that `--version`
and a wrong flag answer at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..engine.version import COMPATIBLE_VERSION, VERSION
from .flags import UsageError, usage
from .settings import Settings, load, reloaded

if TYPE_CHECKING:
    import ssl

    from ..engine.engine import Engine
    from .listen import Server

logger = logging.getLogger(__name__)

_LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40, "fatal": 50}
_REQUEST_GRACE_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--help" in arguments or "-h" in arguments:
        print(usage())
        return 0
    if "--version" in arguments or "-v" in arguments:
        print(f"lightshipd version {VERSION} (Docker Engine API of {COMPATIBLE_VERSION})")
        return 0
    try:
        settings = load(arguments)
        if settings.validate:
            from .listen import tls_context

            tls_context(settings)
            print("configuration OK")
            return 0
        return run(settings, arguments)
    except UsageError as error:
        print(f"{error}\nSee 'lightshipd --help'.", file=sys.stderr)
        return 1


def run(settings: Settings, arguments: Sequence[str]) -> int:
    """Serve until a signal says to stop; return the exit status."""
    from ..engine.errors import Error
    from .listen import open_sockets, tls_context

    _configure_logging(settings)
    tls = tls_context(settings)
    with _Pidfile(settings.pidfile):
        sockets = open_sockets(settings)
        try:
            asyncio.run(_serve(settings, arguments, sockets, tls))
        except Error as error:
            logger.error("failed to start daemon: %s", error)
            return 1
        finally:
            _remove_sockets(settings)
    return 0


async def _serve(
    settings: Settings, arguments: Sequence[str], sockets: list[socket.socket], tls: ssl.SSLContext | None
) -> None:
    from ..engine.engine import Engine
    from .app import build
    from .listen import Server

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    engine = Engine(settings.engine)
    await engine.start()
    server = Server(build(engine))
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    reloading = asyncio.create_task(_reload_on(hangup, engine, settings, arguments))
    try:
        await server.serve(sockets, tls)
        _notify("READY=1")
        logger.info("Daemon has completed initialization")
        await stopped.wait()
    finally:
        logger.info("Processing signal: stopping")
        _notify("STOPPING=1")
        reloading.cancel()
        await asyncio.wait((reloading,))
        await _stop(server, engine)


async def _stop(server: Server, engine: Engine) -> None:
    """Streams end when the engine does; requests under way get their answers first."""
    engine.events.close()
    await server.stop(_REQUEST_GRACE_S)
    await engine.stop()


async def _reload_on(hangup: asyncio.Event, engine: Engine, settings: Settings, arguments: Sequence[str]) -> None:
    while await hangup.wait():
        hangup.clear()
        await _reload(engine, settings, arguments)


async def _reload(engine: Engine, settings: Settings, arguments: Sequence[str]) -> None:
    """Read the configuration again and take what may change while running (SIGHUP)."""
    from ..engine.errors import Error

    try:
        fresh = reloaded(settings, load(arguments))
        await engine.authorization.check(fresh.engine.authorization_plugins)
    except (UsageError, Error) as error:
        logger.error("configuration not reloaded: %s", error)
        return
    _configure_logging(fresh)
    engine.reload(fresh.engine)
    logger.info("Reloaded configuration: %s", settings.config_file)


def _configure_logging(settings: Settings) -> None:
    level = logging.DEBUG if settings.engine.debug else _LEVELS[settings.log_level]
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=level, force=True)
    if settings.log_format == "json":
        from .jsonlog import JsonFormatter

        logging.getLogger().handlers[0].setFormatter(JsonFormatter())
    # asyncio's own debug records tell nothing of the engine.
    logging.getLogger("asyncio").setLevel(max(level, logging.INFO))


def _notify(state: str) -> None:
    """Tell systemd (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
        try:
            notifier.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            logger.debug("nobody was notified of %s: %s", state, error)


def _remove_sockets(settings: Settings) -> None:
    for host in settings.hosts:
        if host.startswith("unix://"):
            Path(host.removeprefix("unix://")).unlink(missing_ok=True)


class _Pidfile:
    """The file that says which process the daemon is."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def __enter__(self) -> None:
        if self._path is None:
            return
        try:
            running = int(self._path.read_text())
            is_running = running != os.getpid() and Path(f"/proc/{running}").exists()
        except (OSError, ValueError):
            is_running = False
        if is_running:
            raise UsageError(f"failed to start daemon, ensure docker is not running or delete {self._path}")
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(str(os.getpid()))

    def __exit__(self, *_error: object) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
