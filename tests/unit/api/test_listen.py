"""The sockets: their rights, what is refused, systemd's."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from dataclasses import replace

import pytest
from lightship.api.flags import UsageError
from lightship.api.listen import Server, open_sockets, tls_context
from lightship.api.settings import Settings


def test_a_unix_socket_is_for_root_and_the_group_alone(tmp_path):
    path = tmp_path / "deep" / "docker.sock"
    (listener,) = open_sockets(Settings(hosts=(f"unix://{path}",), group=str(os.getgid())))
    with listener:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == os.getgid()


def test_a_dead_socket_is_replaced_and_a_living_one_is_not(tmp_path):
    settings = Settings(hosts=(f"unix://{tmp_path}/docker.sock",))
    (first,) = open_sockets(settings)
    with pytest.raises(UsageError, match="is in use by another daemon"):
        open_sockets(settings)
    first.close()
    (second,) = open_sockets(settings)
    second.close()


def test_a_file_that_is_no_socket_is_left_alone(tmp_path):
    (tmp_path / "docker.sock").write_text("precious")
    with pytest.raises(UsageError, match="is not a socket"):
        open_sockets(Settings(hosts=(f"unix://{tmp_path}/docker.sock",)))
    assert (tmp_path / "docker.sock").read_text() == "precious"


def test_an_unknown_group_is_refused(tmp_path):
    with pytest.raises(UsageError, match="group nope-nope not found"):
        open_sockets(Settings(hosts=(f"unix://{tmp_path}/docker.sock",), group="nope-nope"))


@pytest.mark.parametrize("host", ["foo://x", "tcp:/x", "nothing"])
def test_other_addresses_are_refused(host):
    with pytest.raises(UsageError, match="invalid bind address"):
        open_sockets(Settings(hosts=(host,)))


def test_tcp_needs_verified_clients_or_the_flag_that_says_so():
    settings = Settings(hosts=("tcp://127.0.0.1:0",))
    for insecure in (settings, replace(settings, tls=True)):
        with pytest.raises(UsageError, match="refusing to listen on tcp://127.0.0.1:0 without --tlsverify"):
            open_sockets(insecure)
    for allowed in (replace(settings, allow_unauthenticated_tcp=True), replace(settings, tlsverify=True)):
        (listener,) = open_sockets(allowed)
        listener.close()


def test_missing_certificates_are_told(tmp_path):
    settings = Settings(tls=True, tlscert=str(tmp_path / "none"), tlskey=str(tmp_path / "none"))
    with pytest.raises(
        UsageError,
        match="invalid TLS configuration: Could not load X509 key pair .*: open .*/none: no such file or directory",
    ):
        tls_context(settings)
    assert tls_context(Settings()) is None


def test_sockets_of_systemd_are_taken():
    """As systemd does it: the listening socket is fd 3, and the environment names the process."""
    program = (
        "import os, sys\n"
        "os.dup2(int(sys.argv[1]), 3)\n"
        "os.environ['LISTEN_PID'] = str(os.getpid())\n"
        "from lightship.api.listen import open_sockets\n"
        "from lightship.api.settings import Settings\n"
        "(listener,) = open_sockets(Settings(hosts=('fd://',)))\n"
        "print(listener.getsockname()[1], listener.get_inheritable(), 'LISTEN_FDS' in os.environ)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        child = subprocess.run(
            [sys.executable, "-c", program, str(listener.fileno())],
            env={**os.environ, "LISTEN_FDS": "1"},
            pass_fds=[listener.fileno()],
            capture_output=True,
            text=True,
            check=True,
        )
        assert child.stdout.split() == [str(listener.getsockname()[1]), "False", "False"]


def test_without_systemd_there_is_no_activation(monkeypatch):
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    with pytest.raises(UsageError, match="no sockets found via socket activation"):
        open_sockets(Settings(hosts=("fd://",)))


def test_stopping_lets_a_request_end_and_closes_idle_connections(tmp_path):
    async def run():
        arrived, release = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            arrived.set()
            await release.wait()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})

        (listener,) = open_sockets(Settings(hosts=(f"unix://{tmp_path}/s",)))
        server = Server(app)
        await server.serve([listener])
        idle_reader, idle_writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
        reader, writer = await asyncio.open_unix_connection(f"{tmp_path}/s")
        writer.write(b"GET / HTTP/1.1\r\nHost: d\r\n\r\n")
        await arrived.wait()
        stopping = asyncio.create_task(server.stop(5))
        assert await idle_reader.read() == b""
        release.set()
        answer = await reader.read()
        await stopping
        for each in (idle_writer, writer):
            each.close()
        return answer

    assert asyncio.run(asyncio.wait_for(run(), 60)).endswith(b"\r\n\r\nok")
