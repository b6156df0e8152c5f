"""`docker import URL` against a web server of the test's own."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.images import entry, layer
from lightship.engine.errors import Error, Internal, InvalidArgument, NotFound
from lightship.engine.images.images import Images

from .conftest import Opened, leftovers

ARCHIVE = layer(entry("file", b"data"))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
            return
        body = {"/archive.tar": ARCHIVE, "/short.tar": ARCHIVE, "/text": b"no archive" * 100}.get(self.path)
        if body is None:
            self.send_error(404, "Not Found", "gone")
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/short.tar" else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def imported(images: Images, url: str, **options: Any) -> list[dict[str, Any]]:
    return [message async for message in images.import_url(url, **options)]


def test_an_archive_from_a_web_server(opened: Opened[None], address: str) -> None:
    async def work(images: Images) -> None:
        first, *progress, last = await imported(images, f"{address}/archive.tar", repo="made")
        assert first == {"status": f"Downloading from http://{address}/archive.tar"}
        assert progress[-1]["progressDetail"] == {"current": len(ARCHIVE), "total": len(ARCHIVE)}
        assert last == {"status": images.get_image("made").id}

    opened(work)


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("/nosuch", NotFound, "failed to GET http://{address}/nosuch with status 404 Not Found: "),
        ("/short.tar", Internal, ""),
        ("/text", Internal, "archive/tar: invalid tar header"),
        ("/moved", Error, ""),
    ],
)
def test_what_cannot_be_imported(
    opened: Opened[None], root: Path, address: str, path: str, error: type[Error], message: str
) -> None:
    async def work(images: Images) -> None:
        with pytest.raises(error) as found:
            await imported(images, f"http://{address}{path}")
        assert str(found.value).startswith(message.format(address=address))
        assert leftovers(root) == []

    opened(work)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_other_schemes_are_refused(opened: Opened[None], url: str) -> None:
    async def work(images: Images) -> None:
        with pytest.raises(InvalidArgument, match="unsupported protocol scheme"):
            await imported(images, url)

    opened(work)
