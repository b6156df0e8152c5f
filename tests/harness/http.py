"""Raw HTTP to an engine's unix socket, for what no client library would send: status, headers and body as they came."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The text of an error response."""
        text = self.json()["message"]
        assert isinstance(text, str)
        return text


class Api:
    """Requests against one engine; paths are given without version unless the test is about versions."""

    def __init__(self, socket_path: str, *, timeout_s: float = 30) -> None:
        self.socket_path = socket_path
        self._timeout_s = timeout_s

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Response:
        """``body`` is sent as JSON; ``raw`` as it is."""
        sent = dict(headers or {})
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        connection = UnixConnection(self.socket_path, self._timeout_s)
        try:
            connection.request(method, path, body=data, headers=sent)
            response = connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def get(self, path: str, **kwargs: Any) -> Response:
        return self.request("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Response:
        return self.request("POST", path, body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Response:
        return self.request("DELETE", path, **kwargs)

    def json(self, path: str) -> Any:
        """The decoded body of a GET that must succeed."""
        response = self.get(path)
        assert response.status == 200, (path, response.status, response.body)
        return response.json()

    def dial(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes = b""
    ) -> socket.socket:
        """A connection on which the request was sent and nothing read yet: for streams that are hijacked."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._timeout_s)
        connection.connect(self.socket_path)
        lines = [f"{method} {path} HTTP/1.1", "Host: docker", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return connection


def read_head(connection: socket.socket) -> tuple[str, dict[str, str]]:
    """Status line and headers, byte by byte so that the stream behind them stays unread."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)
        assert byte, f"connection closed within the head: {head!r}"
        head += byte
    first, *lines = head.decode().strip().split("\r\n")
    return first, {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the other side's end of the stream; closes the connection."""
    chunks = []
    with connection:
        while chunk := connection.recv(65536):
            chunks.append(chunk)
    return b"".join(chunks)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    """The 8-byte framed records of a multiplexed stream as (stream, payload)."""
    found = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        assert data[1:4] == b"\0\0\0" and len(data) >= 8 + size, data[:16]
        found.append((data[0], data[8 : 8 + size]))
        data = data[8 + size :]
    return found
