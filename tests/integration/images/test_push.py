"""Pushes to a registry whose connections break, which mounts, or which sends uploads elsewhere."""

from __future__ import annotations

import hashlib
import http.server
import json
import random
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import images as made
from lightship.engine.config import RegistryConfig
from lightship.engine.errors import Error
from lightship.engine.images.images import Images
from lightship.engine.images.references import parse
from lightship.engine.images.registry import uploads
from lightship.engine.images.registry.credentials import Credentials

from .conftest import Opened, leftovers, loaded

ALICE = Credentials("alice", "s3cret-of-alice")


class Taker:
    """A registry that takes uploads; the first `breaks` of them break after `taken` bytes."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, bytes] = {}
        self.uploads: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.breaks, self.taken = 0, 100_000
        self.upload_host = ""
        self.wants_basic = False
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.host = self.upload_host = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(taker: Taker) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            name = url.path.rpartition("/")[2]
            taker.asked.append((self.command, url.path, {key.lower(): value for key, value in self.headers.items()}))
            if self.command == "PATCH":
                self.patch(name)
            elif taker.wants_basic and "Authorization" not in self.headers:
                self.answer(401, {"WWW-Authenticate": 'Basic realm="x"'})
            elif self.command == "POST":
                taker.uploads[number := str(len(taker.uploads))] = b""
                self.answer(202, self.location(number))
            elif self.command == "PUT" and "/manifests/" in url.path:
                taker.manifests[name] = self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(201, {})
            elif self.command == "PUT":
                data = taker.uploads.pop(name)
                digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
                is_right = parse_qs(url.query)["digest"] == [digest]
                taker.blobs[digest] = data
                self.answer(201 if is_right else 400, {})
            elif "/uploads/" in url.path:
                self.answer(204, self.location(name) | {"Range": f"0-{max(0, len(taker.uploads[name]) - 1)}"})
            else:
                self.answer(200 if url.path == "/v2/" or name in taker.blobs else 404, {})

        do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

        def patch(self, number: str) -> None:
            size = int(self.headers["Content-Length"])
            start = int(self.headers["Content-Range"].partition("-")[0])
            assert start == len(taker.uploads[number])
            if taker.breaks and size > taker.taken:
                taker.breaks -= 1
                taker.uploads[number] += self.rfile.read(taker.taken)
                self.close_connection = True
                return
            taker.uploads[number] += self.rfile.read(size)
            self.answer(202, self.location(number))

        def location(self, number: str) -> dict[str, str]:
            return {"Location": f"http://{taker.upload_host}/v2/x/blobs/uploads/{number}"}

        def answer(self, status: int, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Length": "0"}).items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def taker() -> Iterator[Taker]:
    started = Taker()
    yield started
    started.close()


@pytest.fixture
def elsewhere() -> Iterator[Taker]:
    started = Taker()
    yield started
    started.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_WAIT_S", 0.01)


IMAGE = made.Image(["x:1"], [made.layer(made.entry("a", random.Random(1).randbytes(500_000)))])


def pushed(opened: Opened[Any], taker: Taker, **changes: Any) -> list[dict[str, Any]]:
    """Push an image whose layer is not compressed here; return the messages."""

    async def work(images: Images) -> list[dict[str, Any]]:
        images.registry = RegistryConfig(**changes)
        await loaded(images, made.docker_archive([IMAGE]))
        await images.tag("x:1", repo=f"{taker.host}/x", tag="1")
        reference = parse(f"{taker.host}/x:1")
        try:
            return [message async for message in images.push(reference, credentials=ALICE)]
        finally:
            assert not list(images.content.new_path().parent.iterdir())

    found: list[dict[str, Any]] = opened(work)
    return found


def test_an_upload_goes_on_where_it_broke(opened: Opened[Any], taker: Taker) -> None:
    taker.breaks = 3
    pushed(opened, taker)
    manifest = json.loads(taker.manifests["1"])
    assert manifest["layers"][0]["digest"] in taker.blobs and manifest["config"]["digest"] in taker.blobs
    ranges = [headers["content-range"] for method, _, headers in taker.asked if method == "PATCH"]
    assert [int(text.partition("-")[0]) for text in ranges][:4] == [0, 100_000, 200_000, 300_000]


def test_uploads_that_never_end(opened: Opened[Any], taker: Taker) -> None:
    taker.breaks, taker.taken = 1000, 1
    with pytest.raises(Error):
        pushed(opened, taker, max_download_attempts=3)
    assert taker.manifests == {}


def test_the_same_bytes_each_time(opened: Opened[Any], taker: Taker, elsewhere: Taker) -> None:
    pushed(opened, taker)
    pushed(opened, elsewhere)
    assert taker.blobs == elsewhere.blobs and taker.manifests == elsewhere.manifests


def test_credentials_are_not_sent_to_where_uploads_go(opened: Opened[Any], taker: Taker, elsewhere: Taker) -> None:
    taker.wants_basic = True
    elsewhere.uploads = taker.uploads
    elsewhere.blobs = taker.blobs
    taker.upload_host = elsewhere.host
    pushed(opened, taker)
    assert [method for method, _, _ in elsewhere.asked] == ["PATCH", "PUT", "PATCH", "PUT"]
    assert all("authorization" not in headers for _, _, headers in elsewhere.asked)
    assert all("authorization" in headers for _, path, headers in taker.asked if path != "/v2/")


def test_what_is_refused_is_told(opened: Opened[Any], taker: Taker) -> None:
    taker.wants_basic = True

    async def work(images: Images) -> None:
        await loaded(images, made.docker_archive([IMAGE]))
        await images.tag("x:1", repo=f"{taker.host}/x", tag="1")
        with pytest.raises(Error, match="^no basic auth credentials$"):
            async for _ in images.push(parse(f"{taker.host}/x:1"), credentials=Credentials()):
                pass

    opened(work)
    assert all(method in ("GET", "HEAD") for method, _, _ in taker.asked)


def test_nothing_of_a_push_stays(opened: Opened[Any], taker: Taker, root: Any) -> None:
    pushed(opened, taker)

    async def work(images: Images) -> None:
        await images.remove(f"{taker.host}/x:1")
        await images.remove("x:1")

    opened(work)
    assert leftovers(root) == []
