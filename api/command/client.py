"""A small client of an engine's unix socket, for the commands: JSON requests, and a file as a body."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable
from typing import Any

from ...engine.errors import Error, Unavailable

_TIMEOUT_S = 30.0


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("docker", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Requests to the engine on one socket; raises Unavailable where none answers, Error for its refusals."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(self, path: str, *, timeout_s: float | None = _TIMEOUT_S) -> None:
        self._request("POST", path, timeout_s=timeout_s)

    def send(self, path: str, chunks: Iterable[bytes]) -> None:
        """POST a body that is made on the way; an answer that tells of an error in its stream is one."""
        answer = self._exchange("POST", path, body=chunks, timeout_s=None)
        for line in answer.splitlines():
            if message := json.loads(line).get("error"):
                raise Error(message)

    def answers(self) -> bool:
        """Whether an engine is there."""
        try:
            self._exchange("HEAD", "/_ping", timeout_s=5)
        except Error:
            return False
        return True

    def _request(self, method: str, path: str, *, timeout_s: float | None = _TIMEOUT_S) -> Any:
        answer = self._exchange(method, path, timeout_s=timeout_s)
        return json.loads(answer) if answer else None

    def _exchange(
        self, method: str, path: str, *, body: Iterable[bytes] | None = None, timeout_s: float | None
    ) -> bytes:
        connection = _UnixConnection(self._socket_path, timeout_s)
        try:
            connection.request(method, path, body=body, encode_chunked=body is not None, headers=_headers(body))
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"no engine answers on {self._socket_path}: {error}") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise Error(json.loads(answer).get("message", "") if answer else f"status {response.status}")
        return answer


def _headers(body: object) -> dict[str, str]:
    return {} if body is None else {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}
