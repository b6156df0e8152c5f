"""What `docker plugin create` is given: a plugin in Python that runs by the host's own interpreter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CONFIG = {
    "documentation": "none",
    "entrypoint": ["/usr/bin/python3", "/serve.py"],
    "workdir": "/",
    "network": {"type": ""},
    "mounts": [
        {"name": "usr", "source": "/usr", "destination": "/usr", "type": "bind", "options": ["rbind", "ro"]},
    ],
}
_SERVER = """
import json, os, signal, socketserver, sys
from http.server import BaseHTTPRequestHandler

class Handler(BaseHTTPRequestHandler):
    def address_string(self):
        return ""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        data = json.dumps(answer(self.path.rpartition(".")[2], asked)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    pass

signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if os.path.exists("/run/docker/plugins/plugin.sock"):
    os.unlink("/run/docker/plugins/plugin.sock")
Server("/run/docker/plugins/plugin.sock", Handler).serve_forever()
"""


def write(folder: Path, config: Mapping[str, Any], answer: str) -> Path:
    """Write a plugin; `answer` is the text of a function of that name, from a verb and what was asked to the answer."""
    for name in ("usr", "proc", "sys", "dev", "run", "etc", "state", "tmp"):
        (folder / "rootfs" / name).mkdir(parents=True)
    (folder / "rootfs" / "lib").symlink_to("usr/lib")
    (folder / "rootfs" / "lib64").symlink_to("usr/lib64")
    (folder / "rootfs" / "serve.py").write_text(answer + _SERVER)
    (folder / "config.json").write_text(json.dumps({**_CONFIG, **config}))
    return folder
