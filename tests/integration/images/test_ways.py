"""The ways to a registry: proxies, certificates of both ends, and connections that say nothing or break."""

from __future__ import annotations

import base64
import http.client
import http.server
import logging
import select
import shutil
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from harness import images as made
from harness.namespaces import NetNS
from harness.registry import Registry, certificate
from lightship.engine.config import RegistryConfig
from lightship.engine.errors import Error
from lightship.engine.images.images import Images
from lightship.engine.images.references import parse
from lightship.engine.images.registry import blobs, session, transport
from lightship.engine.images.registry.credentials import ANONYMOUS
from lightship.engine.images.registry.transport import Transport

from .conftest import Opened, leftovers, loaded
from .naughty import Answer, Naughty

HOST = "registry.test"
LAYER = made.layer(made.entry("a", bytes(100_000)))


class Proxy:
    """A proxy for plain HTTP and for CONNECT, which has every name at one port of this host."""

    def __init__(self, port: int, *, is_for_tls: bool = False) -> None:
        self.port, self.is_for_tls = port, is_for_tls
        self.asked: list[tuple[str, str, str]] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _proxy_handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _proxy_handler(proxy: Proxy) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization", "")))
            connection = http.client.HTTPConnection("127.0.0.1", proxy.port)
            connection.request(self.command, self.path.partition(urlsplit(self.path).netloc)[2])
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            connection.close()

        do_HEAD = do_GET

        def do_CONNECT(self) -> None:
            proxy.asked.append((self.command, self.path, self.headers.get("Proxy-Authorization", "")))
            self.close_connection = True
            if not proxy.is_for_tls:
                self.send_error(502)
                return
            self.send_response(200)
            self.end_headers()
            with socket.create_connection(("127.0.0.1", proxy.port)) as upstream:
                ends = {self.connection: upstream, upstream: self.connection}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        if not (data := end.recv(65536)):
                            return
                        ends[end].sendall(data)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def pulled(opened: Opened[Any], name: str, **changes: Any) -> list[dict[str, Any]]:
    async def work(images: Images) -> list[dict[str, Any]]:
        images.registry = RegistryConfig(**changes)
        return [message async for message in images.pull(parse(name), credentials=ANONYMOUS)]

    found: list[dict[str, Any]] = opened(work)
    return found


def pushed(opened: Opened[Any], name: str, **changes: Any) -> None:
    async def work(images: Images) -> None:
        images.registry = RegistryConfig(**changes)
        await loaded(images, made.docker_archive([made.Image([name], [LAYER])]))
        async for _ in images.push(parse(name), credentials=ANONYMOUS):
            pass
        await images.remove(name, force=True)

    opened(work)


@pytest.fixture
def registry() -> Iterator[Naughty]:
    naughty = Naughty()
    yield naughty
    naughty.close()


# Proxies


def test_plain_http_through_a_proxy(opened: Opened[Any], registry: Naughty, caplog: pytest.LogCaptureFixture) -> None:
    registry.image("1", LAYER)
    proxy = Proxy(int(registry.host.rpartition(":")[2]))
    caplog.set_level(logging.DEBUG)
    try:
        url = f"http://joe:s3cret-of-joe@{proxy.address}"
        pulled(opened, f"{HOST}/x:1", insecure=(HOST,), http_proxy=url, https_proxy=url)
    finally:
        proxy.close()
    assert ("CONNECT", f"{HOST}:443") in {asked[:2] for asked in proxy.asked}, "TLS was tried first"
    assert any(path.startswith(f"http://{HOST}/v2/x/blobs/sha256:") for _, path, _ in proxy.asked)
    assert {given for _, _, given in proxy.asked} == {f"Basic {base64.b64encode(b'joe:s3cret-of-joe').decode()}"}
    assert "s3cret" not in caplog.text


def test_what_is_not_for_the_proxy(opened: Opened[Any], registry: Naughty) -> None:
    """This host never is, nor what `no_proxy` names."""
    registry.image("1", LAYER)
    nowhere = "http://127.0.0.1:9"
    pulled(opened, f"{registry.host}/x:1", http_proxy=nowhere, https_proxy=nowhere)
    with pytest.raises(Error) as error:
        pulled(opened, f"{HOST}/x:1", insecure=(HOST,), http_proxy=nowhere, https_proxy=nowhere, no_proxy=HOST)
    assert "no such host" in str(error.value)


def test_a_proxy_that_is_not_there(opened: Opened[Any], root: Path) -> None:
    with pytest.raises(Error) as error:
        pulled(opened, f"{HOST}/x:1", https_proxy="http://127.0.0.1:9")
    assert "connection refused" in str(error.value)
    assert leftovers(root) == []


# Certificates


@dataclass
class Secured:
    """A registry that knows its clients by certificate, by a name of its own behind a proxy; and a certs.d."""

    netns: NetNS
    settings: dict[str, Any]
    certs: Path
    folder: Path


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[Secured]:
    authority, _ = certificate(tmp_path, "authority")
    netns = NetNS()
    registry = Registry(netns, tls=certificate(tmp_path, HOST), client_ca=authority)
    with netns.entered():
        proxy = Proxy(registry.port, is_for_tls=True)
    certs = tmp_path / "certs.d" / HOST
    certs.mkdir(parents=True)
    yield Secured(netns, {"https_proxy": f"http://{proxy.address}", "certs_dir": certs.parent}, certs, tmp_path)
    proxy.close()
    registry.close()
    netns.close()


def test_certificates_of_both_ends(opened: Opened[Any], secured: Secured) -> None:
    crt, key = certificate(secured.folder, "client", issuer=secured.folder / "authority.crt")
    shutil.copy(secured.folder / f"{HOST}.crt", secured.certs / "ca.crt")
    shutil.copy(crt, secured.certs / "client.cert")
    shutil.copy(key, secured.certs / "client.key")
    with secured.netns.entered():
        pushed(opened, f"{HOST}/x:1", **secured.settings)
        messages = pulled(opened, f"{HOST}/x:1", **secured.settings)
    assert messages[-1]["status"] == f"Status: Downloaded newer image for {HOST}/x:1"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "certificate signed by unknown authority"),
        ({"ca.crt": f"{HOST}.crt"}, "remote error: tls: bad certificate"),
        ({"ca.crt": f"{HOST}.crt", "client.cert": "authority.crt"}, "missing key client.key for client certificate"),
        ({"ca.crt": f"{HOST}.crt", "client.key": "authority.key"}, "missing client certificate client.cert for key"),
        ({"ca.crt": "nonsense"}, "reading the certificates of"),
    ],
)
def test_certificates_that_will_not_do(
    opened: Opened[Any], secured: Secured, files: dict[str, str], message: str
) -> None:
    (secured.folder / "nonsense").write_text("no certificate")
    for name, source in files.items():
        shutil.copy(secured.folder / source, secured.certs / name)
    with secured.netns.entered(), pytest.raises(Error) as error:
        pulled(opened, f"{HOST}/x:1", **secured.settings)
    assert message in str(error.value)


# Connections that say nothing or break


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for an answer for half a second, not for a minute."""
    stream: Any = Transport.stream
    monkeypatch.setitem(stream.__wrapped__.__kwdefaults__, "wait_s", 0.5)
    monkeypatch.setattr(session, "ANSWER_S", 0.5)
    monkeypatch.setattr(transport, "_CONNECT_S", 0.5)
    monkeypatch.setattr(blobs, "_WAIT_S", 1)


def test_a_registry_that_takes_the_connection_and_says_nothing(
    opened: Opened[Any], root: Path, impatient: None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Error) as error:
        pulled(opened, f"127.0.0.1:{silent.getsockname()[1]}/x:1")
    assert "exceeded" in str(error.value) or "timeout" in str(error.value)
    assert leftovers(root) == []


@pytest.mark.parametrize("then", ["silence", "reset", "end"])
@pytest.mark.parametrize("what", ["blobs", "manifests"])
def test_an_answer_that_stops_in_the_middle(
    opened: Opened[Any], registry: Naughty, root: Path, impatient: None, what: str, then: str
) -> None:
    document = registry.image("1", LAYER)
    path = f"blobs/{document['layers'][0]['digest']}" if what == "blobs" else "manifests/1"
    registry.answers[path] = Answer(body=registry.documents[path][0], cut_at=50, then=then)
    with pytest.raises(Error):
        pulled(opened, f"{registry.host}/x:1", max_download_attempts=1)
    assert leftovers(root) == []


@pytest.mark.parametrize("then", ["silence", "reset"])
def test_a_layer_goes_on_after_that(opened: Opened[Any], registry: Naughty, impatient: None, then: str) -> None:
    path = f"blobs/{registry.image('1', LAYER)['layers'][0]['digest']}"
    registry.answers[path] = Answer(body=registry.documents[path][0], cut_at=50, then=then, times=1)
    assert pulled(opened, f"{registry.host}/x:1")[-1]["status"].startswith("Status: Downloaded newer image")
