"""A registry of what is put into it, which answers otherwise where it is told to."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness import images as made

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Answer:
    """What to answer instead: a status and body, or only so much of the body before the connection breaks."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut_at: int | None = None
    then: str = "end"
    """What comes after a cut: the connection's `end`, a `reset`, or `silence`."""
    times: int = 1 << 30


class Naughty:
    """A registry of what is put into it, which answers otherwise where it is told to."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[bytes, str]] = {}
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.closing = threading.Event()
        self.before: Callable[[str], None] = lambda path: None
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def blob(self, data: bytes) -> dict[str, Any]:
        self.documents[f"blobs/{digest(data)}"] = data, "application/octet-stream"
        return {"digest": digest(data), "size": len(data)}

    def manifest(self, tag: str, document: dict[str, Any]) -> dict[str, Any]:
        data = json.dumps(document).encode()
        for name in (tag, digest(data)):
            self.documents[f"manifests/{name}"] = data, document.get("mediaType", MANIFEST)
        return {"mediaType": document.get("mediaType", MANIFEST), "digest": digest(data), "size": len(data)}

    def image(self, tag: str, *layers: bytes, architecture: str = "amd64", **changes: Any) -> dict[str, Any]:
        """Put an image of plain layers, gzipped on the way; return its manifest's document."""
        image = made.Image([tag], list(layers), architecture=architecture)
        media_type = "application/vnd.oci.image.layer.v1.tar+gzip"
        document = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **self.blob(image.document())},
            "layers": [{"mediaType": media_type, **self.blob(gzip.compress(data, 1, mtime=0))} for data in layers],
            **changes,
        }
        self.manifest(tag, document)
        return document

    def paths(self, kind: str) -> list[str]:
        return [path for method, path, _ in self.asked if method == "GET" and path.startswith(kind)]


def _handler(naughty: Naughty) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].partition("/v2/")[2].removeprefix("x/")
            naughty.asked.append((self.command, path, {name.lower(): value for name, value in self.headers.items()}))
            naughty.before(path)
            answer = naughty.answers.get(path)
            if answer is not None and answer.times > 0:
                answer.times -= 1
                self.send(answer.status, answer.body, answer.headers, answer.cut_at)
                if answer.then == "silence":
                    naughty.closing.wait(30)
                elif answer.then == "reset":
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif not path:
                self.send(200, b"{}", {})
            elif path in naughty.documents:
                body, media_type = naughty.documents[path]
                headers = {"Content-Type": media_type, "Docker-Content-Digest": digest(body)}
                start = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0]
                self.send(206 if "Range" in self.headers else 200, body[int(start) :], headers)
            else:
                code = "MANIFEST_UNKNOWN" if path.startswith("manifests/") else "BLOB_UNKNOWN"
                body = json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode()
                self.send(404, body, {})

        do_HEAD = do_GET

        def send(self, status: int, body: bytes, headers: dict[str, str], cut_at: int | None = None) -> None:
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body[:cut_at])
            if cut_at is not None:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            pass

    return Handler
