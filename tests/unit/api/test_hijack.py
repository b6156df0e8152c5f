"""Attach and exec over real sockets: the heads, what belongs to the stream, half-close, EOF."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess

import pytest
from lightship.api.app import build
from lightship.api.listen import Server

from .conftest import FakeAttachment, FakeEngine

UPGRADE = b"Connection: Upgrade\r\nUpgrade: tcp\r\n"


def echo(client: socket.socket, prefix: bytes) -> None:
    """Answer what came before, then everything that comes; after the client's half-close say so, then end."""
    with client:
        client.sendall(b"<" + prefix + b">")
        try:
            while data := client.recv(65536):
                client.sendall(data)
            client.sendall(b"end of stdin")
        except OSError:
            return  # the test has closed its end


def until(client: socket.socket, wanted: bytes) -> bytes:
    found = b""
    while not found.endswith(wanted):
        chunk = client.recv(65536)
        assert chunk, found
        found += chunk
    return found


@pytest.mark.parametrize(
    ("version", "tty", "media_type"),
    [("1.50", False, "multiplexed-stream"), ("1.50", True, "raw-stream"), ("1.41", False, "raw-stream")],
)
def test_attach_upgrades(served, version, tty, media_type):
    served.engine.containers.attachment = FakeAttachment(tty, echo)
    client = served.connect()
    target = f"/v{version}/containers/one/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a".encode()
    client.sendall(b"POST " + target + b" HTTP/1.1\r\nHost: d\r\n" + UPGRADE + b"Content-Length: 0\r\n\r\n")
    head = until(client, b"<>").decode()
    assert head == (
        "HTTP/1.1 101 UPGRADED\r\n"
        f"Content-Type: application/vnd.docker.{media_type}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n<>"
    )
    client.sendall(b"hello")
    assert until(client, b"hello") == b"hello"
    client.shutdown(socket.SHUT_WR)
    assert b"".join(iter(lambda: client.recv(65536), b"")) == b"end of stdin"
    _, _, options = served.engine.containers.calls[0]
    assert (options.stream, options.stdin, options.stdout, options.stderr, options.logs) == (
        True,
        True,
        True,
        False,
        False,
    )
    assert (options.detach_keys, options.framed) == ("ctrl-a", True)


def test_attach_without_upgrade_is_a_raw_200(served):
    served.engine.containers.attachment = FakeAttachment(False, echo)
    client = served.connect()
    client.sendall(b"POST /containers/one/attach?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n")
    assert until(client, b"<>") == b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n<>"


def test_what_follows_the_body_is_stdin(served):
    """P29: the body is exactly Content-Length bytes."""
    served.engine.containers.attachment = FakeAttachment(True, echo)
    body = b'{"Detach":false,"Tty":true,"ConsoleSize":[10,20]}'
    client = served.connect()
    client.sendall(
        b"POST /v1.50/exec/e1/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"
        + UPGRADE + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"stdin that came early"
    )  # fmt: skip
    assert until(client, b">").endswith(b"\r\n\r\n<stdin that came early>")
    request = served.engine.execs.requests[0]
    assert (request.tty, request.console_size) == (True, [10, 20])


def test_stdin_larger_than_any_buffer_arrives_whole(served):
    data = os.urandom(1 << 20)
    received = []

    def collect(client: socket.socket, prefix: bytes) -> None:
        with client:
            received.append(prefix + b"".join(iter(lambda: client.recv(65536), b"")))

    attachment = served.engine.containers.attachment = FakeAttachment(True, collect)
    client = served.connect()
    client.sendall(b"POST /containers/one/attach HTTP/1.1\r\nHost: d\r\n" + UPGRADE + b"\r\n" + data)
    client.shutdown(socket.SHUT_WR)
    assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 101 UPGRADED")
    for thread in attachment.threads:
        thread.join()
    assert received == [data]


def test_the_server_keeps_nothing_of_the_connection(served):
    """The client sees EOF as soon as the other process closes, and the server's own close does not end the stream."""
    kept = []
    served.engine.containers.attachment = FakeAttachment(True, lambda client, prefix: kept.append(client))
    client = served.connect()
    client.sendall(b"POST /containers/one/attach HTTP/1.1\r\nHost: d\r\n" + UPGRADE + b"\r\n")
    until(client, b"\r\n\r\n")
    response, _ = served.request("GET", "/_ping")
    assert response.status == 200
    served.engine.containers.attachment.threads[0].join()
    kept[0].sendall(b"still there")
    assert until(client, b"there") == b"still there"
    kept[0].close()
    assert client.recv(1) == b""


def test_errors_come_before_the_upgrade(served):
    client = served.connect()
    for _ in range(2):
        client.sendall(b"POST /containers/x/attach HTTP/1.1\r\nHost: d\r\n" + UPGRADE + b"Content-Length: 0\r\n\r\n")
        answer = client.recv(65536)
        assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"message": "No such container: x"}
    client.close()


def test_a_detached_exec_is_not_hijacked(served):
    response, body = served.json("POST", "/exec/e1/start", b'{"Detach":true}')
    assert (response.status, body) == (200, b"")


def test_tls_is_pumped(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost"], check=True, capture_output=True,
    )  # fmt: skip
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    client_side = ssl.create_default_context(cafile=str(certificate))

    async def talk() -> tuple[bytes, bytes]:
        engine = FakeEngine()
        attachment = engine.containers.attachment = FakeAttachment(False, echo)
        server = Server(build(engine))  # type: ignore[arg-type]
        listener = socket.create_server(("127.0.0.1", 0))
        await server.serve([listener], server_side)
        port = listener.getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port, ssl=client_side)
        writer.write(b"POST /containers/one/attach HTTP/1.1\r\nHost: d\r\n" + UPGRADE + b"\r\nearly")
        head = await reader.readuntil(b"<early>")
        writer.write(b"late")
        late = await reader.readexactly(4)
        writer.close()
        await asyncio.to_thread(attachment.threads[0].join)
        await server.stop(1)
        return head, late

    head, late = asyncio.run(asyncio.wait_for(talk(), 60))
    assert head.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert late == b"late"
