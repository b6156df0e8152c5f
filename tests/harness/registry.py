"""Registries: Debian's `docker-registry` on a loopback address of an engine's network, and a server of tokens.

Both live in the engine's network namespace. The token server signs with a key made on the spot by openssl.
"""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .namespaces import NetNS

ADDRESS = "127.0.0.1"
USER, PASSWORD = "alice", "s3cret-of-alice"
_IDLE_S = 10.0


class Registry:
    """A registry with its own storage; `auth` is a section of its configuration, `tls` a certificate and its key.

    With `client_ca` only clients are let in whose certificate that has signed.
    """

    def __init__(
        self,
        netns: NetNS,
        *,
        auth: dict[str, Any] | None = None,
        tls: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="registry-"))
        self.netns = netns
        with netns.entered():
            self.port = free_port()
        self.host = f"{ADDRESS}:{self.port}"
        secured: dict[str, Any] = {"tls": {"certificate": str(tls[0]), "key": str(tls[1])}} if tls else {}
        if client_ca is not None:
            secured["tls"]["clientcas"] = [str(client_ca)]
        settings: dict[str, Any] = {
            "version": "0.1",
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.root / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host, **secured},
        }
        if auth is not None:
            settings["auth"] = auth
        (self.root / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        self.log = self.root / "log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        binary = shutil.which("docker-registry")
        if binary is None:
            raise RuntimeError("docker-registry is missing: run `make setup`")
        with self.netns.entered(), self.log.open("ab") as log:
            process = subprocess.Popen([binary, "serve", str(self.root / "config.yml")], stdout=log, stderr=log)
            deadline = time.monotonic() + _IDLE_S
            while not _accepts(self.port):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"docker-registry did not start: {self.log.read_text()}")
                time.sleep(0.01)
        return process

    def blobs(self) -> list[Path]:
        """The files that hold what was pushed."""
        return sorted(self.root.glob("data/docker/registry/v2/blobs/sha256/*/*/data"))

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.root)


def htpasswd(folder: Path) -> dict[str, Any]:
    """The `auth` section of a registry that knows one user."""
    line = subprocess.run(["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True, text=True).stdout
    (folder / "htpasswd").write_text(line)
    return {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}


def certificate(folder: Path, name: str, *, issuer: Path | None = None) -> tuple[Path, Path]:
    """A certificate for the loopback address, signed by itself or by an issuer; and its key."""
    crt, key = folder / f"{name}.crt", folder / f"{name}.key"
    signed = [] if issuer is None else ["-CA", str(issuer), "-CAkey", str(issuer.with_suffix(".key"))]
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-addext",
            f"subjectAltName=IP:{ADDRESS},DNS:localhost,DNS:{name}",
            "-keyout",
            str(key),
            "-out",
            str(crt),
            *signed,
        ],
        check=True,
        capture_output=True,
    )
    return crt, key


class TokenServer:
    """Gives tokens to anybody (for pulling `public/*`), to USER by password, and to whoever has the refresh token."""

    REFRESH = "refresh-token-of-alice"

    def __init__(self, netns: NetNS, folder: Path) -> None:
        self._crt, self._key = certificate(folder, "tokens")
        with netns.entered():
            self._server = _Server((ADDRESS, 0), _handler(self))
        self.url = f"http://{ADDRESS}:{self._server.server_address[1]}/token"
        self.requests: list[dict[str, Any]] = []
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def auth(self) -> dict[str, Any]:
        """The `auth` section of a registry that trusts this server."""
        return {"token": {"realm": self.url, "service": "test", "issuer": "tests", "rootcertbundle": str(self._crt)}}

    def token(self, user: str, scopes: list[str]) -> str:
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = actions.split(",") if user else ["pull"] if name.startswith("public/") else []
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": user,
            "aud": "test",
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": str(time.monotonic_ns()),
            "access": access,
        }
        body = b"".join(line for line in self._crt.read_bytes().splitlines() if not line.startswith(b"-")).decode()
        signed = f"{_url64(json.dumps({'typ': 'JWT', 'alg': 'RS256', 'x5c': [body]}))}.{_url64(json.dumps(claims))}"
        sign = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        made = subprocess.run(sign, input=signed.encode(), check=True, capture_output=True)
        return f"{signed}.{base64.urlsafe_b64encode(made.stdout).rstrip(b'=').decode()}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


def _handler(tokens: TokenServer) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            given = self.headers.get("Authorization", "")
            user = ""
            if given.startswith("Basic "):
                name, _, password = base64.b64decode(given[6:]).decode().partition(":")
                if (name, password) != (USER, PASSWORD):
                    self.answer(401, {"details": "incorrect username or password"})
                    return
                user = name
            self.give(user, query.get("scope", []), refresh="offline_token" in query)

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if form.get("refresh_token") != [tokens.REFRESH]:
                self.answer(401, {"details": "invalid refresh token"})
                return
            self.give(USER, form.get("scope", [""])[0].split(), refresh=False)

        def give(self, user: str, scopes: list[str], *, refresh: bool) -> None:
            tokens.requests.append({"user": user, "scopes": scopes, "method": self.command})
            token = tokens.token(user, [scope for scope in scopes if scope])
            answer = {"token": token, "access_token": token, "expires_in": 300}
            self.answer(200, answer | ({"refresh_token": tokens.REFRESH} if refresh and user else {}))

        def answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _url64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port), timeout=1):
        return True
    return False
