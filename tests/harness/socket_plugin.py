"""A plugin of the old protocol: a small HTTP server on a socket where engines look for plugins."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any

SOCKETS = Path("/run/docker/plugins")


class SocketPlugin:
    """`calls` are (method, request) in the order in which they came; while `late` is not set nothing is answered.

    What waits for an answer is in `arrived` already.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.socket = SOCKETS / f"{name}.sock"
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.arrived: list[str] = []
        self.late = threading.Event()
        self.late.set()

    def answer(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        raise NotImplementedError

    def status(self, answer: dict[str, Any]) -> int:
        """Return the HTTP status that an answer has."""
        return 200

    def reply(self, method: str, request: dict[str, Any]) -> tuple[int, bytes]:
        """Return status and body."""
        answer = self.answer(method, request)
        return self.status(answer), json.dumps(answer).encode()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Be there; may be entered again after it was left."""
        SOCKETS.mkdir(parents=True, exist_ok=True)
        server = _Server(str(self.socket), _Handler)
        server.plugin = self
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            self.late.set()
            server.shutdown()
            thread.join()
            server.server_close()
            os.unlink(self.socket)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64
    plugin: SocketPlugin


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:  # noqa: N802 - the name that the base class calls
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        plugin = self.server.plugin
        method, request = self.path.lstrip("/"), json.loads(body or b"{}")
        plugin.arrived.append(method)
        plugin.late.wait()
        plugin.calls.append((method, request))
        status, content = plugin.reply(method, request)
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.docker.plugins.v1.1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass
