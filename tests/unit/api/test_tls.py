"""TLS with client certificates, as `--tlsverify` asks for."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
import subprocess

import pytest
from lightship.api.app import build
from lightship.api.listen import Server, tls_context
from lightship.api.settings import Settings

from .conftest import FakeEngine


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A CA, and what it has signed for the server, for a client, and nothing for a stranger."""
    folder = tmp_path_factory.mktemp("tls")
    extensions = folder / "extensions"
    extensions.write_text("subjectAltName=DNS:localhost\n")
    new_key = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    for name in ("ca", "stranger"):
        key, certificate = folder / f"{name}-key.pem", folder / f"{name}.pem"
        openssl(*new_key, f"/CN={name}", "-x509", "-days", "2", "-keyout", key, "-out", certificate)
    for name in ("server", "client"):
        key, request, certificate = (folder / f"{name}{suffix}" for suffix in ("-key.pem", ".csr", ".pem"))
        openssl(*new_key, f"/CN={name}", "-keyout", key, "-out", request)
        openssl(
            "x509", "-req", "-in", request, "-CA", folder / "ca.pem", "-CAkey", folder / "ca-key.pem",
            "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate,
        )  # fmt: skip
    return folder


def ping(certificates, client, *, tlsverify, engine=None):
    settings = Settings(
        tls=True,
        tlsverify=tlsverify,
        tlscacert=str(certificates / "ca.pem"),
        tlscert=str(certificates / "server.pem"),
        tlskey=str(certificates / "server-key.pem"),
    )

    async def run():
        server = Server(build(engine or FakeEngine()))
        listener = socket.create_server(("127.0.0.1", 0))
        await server.serve([listener], tls_context(settings))
        context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
        if client:
            context.load_cert_chain(certificates / f"{client}.pem", certificates / f"{client}-key.pem")
        try:
            reader, writer = await asyncio.open_connection("localhost", listener.getsockname()[1], ssl=context)
            writer.write(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer
        finally:
            await server.stop(1)

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_a_client_of_the_ca_is_served(certificates):
    assert ping(certificates, "client", tlsverify=True).endswith(b"\r\n\r\nOK")


@pytest.mark.parametrize("client", ["", "stranger"])
def test_others_are_not(certificates, client):
    """With TLS 1.3 the client learns of it only when it reads: as an error, or as the end of the connection."""
    try:
        answer = ping(certificates, client, tlsverify=True)
    except (ssl.SSLError, ConnectionError):
        answer = b""
    assert answer == b""


def test_tls_alone_asks_for_no_certificate(certificates):
    assert ping(certificates, "", tlsverify=False).endswith(b"\r\n\r\nOK")


class Asked:
    """Stands where authorization plugins are asked."""

    names = ("plugin",)

    def __init__(self):
        self.questions = []

    async def ask(self, verb, question):
        self.questions.append(question)


def test_plugins_learn_who_the_client_is(certificates):
    engine = FakeEngine()
    engine.authorization = Asked()
    assert ping(certificates, "client", tlsverify=True, engine=engine).endswith(b"\r\n\r\nOK")
    request, answer = engine.authorization.questions
    for question in (request, answer):
        assert (question["User"], question["UserAuthNMethod"]) == ("client", "TLS")
    (certificate,) = request["RequestPeerCertificates"]
    sent = (certificates / "client.pem").read_text()
    assert base64.b64decode(certificate).decode() == sent[sent.index("-----BEGIN") :]


def test_plugins_learn_nothing_where_nothing_was_verified(certificates):
    engine = FakeEngine()
    engine.authorization = Asked()
    assert ping(certificates, "client", tlsverify=False, engine=engine).endswith(b"\r\n\r\nOK")
    assert "User" not in engine.authorization.questions[0]
