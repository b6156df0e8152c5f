"""A web server in a container, and asking it from a network namespace: how tests see whether a port is reached."""

from __future__ import annotations

import socket

from .namespaces import NetNS

WEB = ("httpd", "-f", "-p", "80", "-h", "/etc")


def fetch(netns: NetNS, address: str, port: int, *, timeout_s: float = 5) -> str:
    """The greeting of the web server in a container, asked for from a namespace."""
    with netns.entered(), socket.create_connection((address, port), timeout=timeout_s) as connection:
        connection.sendall(b"GET /group HTTP/1.0\r\n\r\n")
        data = b""
        while chunk := connection.recv(4096):
            data += chunk
    return data.decode().split("\r\n\r\n", 1)[1].splitlines()[0]
