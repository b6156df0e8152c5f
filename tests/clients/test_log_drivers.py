"""Log drivers with real servers at the other end: what they get, what `docker logs` shows, and lost servers."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine
from harness.waiting import LIMIT_S


class Server:
    """A server on the engine's host that keeps what it gets."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.connection: socket.socket | None = None
        self.data = b""

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def read(self, size: int = 65536) -> bytes:
        """Return the next datagram, or what comes next by the connection."""
        self.listener.settimeout(LIMIT_S)
        if self.listener.type == socket.SOCK_DGRAM:
            return self.listener.recv(size)
        if self.connection is None:
            self.connection, _ = self.listener.accept()
            self.connection.settimeout(LIMIT_S)
        return self.connection.recv(size)

    def read_until(self, count: int, end: bytes) -> bytes:
        while self.data.count(end) < count:
            more = self.read()
            assert more, self.data
            self.data += more
        return self.data

    def read_messages(self, count: int) -> list[Any]:
        """Read as many values of msgpack."""
        found: list[Any] = []
        while len(found) < count:
            try:
                message, self.data = unpack(self.data)
                found.append(message)
            except EOFError:
                more = self.read()
                assert more, (found, self.data)
                self.data += more
        return found

    def close(self) -> None:
        for one in (self.listener, self.connection):
            if one is not None:
                one.close()


@pytest.fixture
def serve(engine: Engine) -> Iterator[Any]:
    made: list[Server] = []

    def make(kind: socket.SocketKind, port: int = 0) -> Server:
        with engine.netns.entered():
            listener = socket.socket(socket.AF_INET, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        made.append(Server(listener))
        return made[-1]

    yield make
    for server in made:
        server.close()


SCRIPT = "echo first; sleep 0.2; echo second >&2; sleep 0.2; printf last"


def test_local(docker: Docker, name: str) -> None:
    docker.ok("run", "--log-driver", "local", "--name", name, "busybox", "sh", "-c", SCRIPT)
    result = docker("logs", name)
    assert (result.out, result.err) == ("first\nlast", "second\n")
    assert docker.ok("logs", "--tail", "1", name) == "last"
    assert docker.ok("inspect", "-f", "{{.LogPath}}", name) == ""


@pytest.mark.parametrize(
    ("style", "pattern"),
    [
        ("", r"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d tag-(\S+)\[\d+\]: (.*)\n"),
        ("rfc3164", r"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ tag-(\S+)\[\d+\]: (.*)\n"),
        ("rfc5424", r"<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+ \S+ tag-(\S+) \d+ tag-\S+ - (.*)\n"),
        ("rfc5424micro", r"<(\d+)>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\S+ \S+ tag-(\S+) \d+ tag-\S+ - (.*)\n"),
    ],
)
@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM], ids=["udp", "tcp"])
def test_syslog(docker: Docker, name: str, serve: Any, style: str, pattern: str, kind: socket.SocketKind) -> None:
    server = serve(kind)
    network = "udp" if kind == socket.SOCK_DGRAM else "tcp"
    docker.ok(
        *("run", "-d", "--name", name, "--log-driver", "syslog", "--log-opt", "tag=tag-{{.Name}}"),
        *("--log-opt", f"syslog-address={network}://127.0.0.1:{server.port}", "--log-opt", "syslog-facility=local3"),
        *("--log-opt", f"syslog-format={style}", "busybox", "sh", "-c", SCRIPT),
    )
    got = server.read_until(3, b"\n").decode()
    local3 = 19 << 3
    found = re.findall(pattern, got)
    assert found == [
        (str(local3 | 6), name, "first"),
        (str(local3 | 3), name, "second"),
        (str(local3 | 6), name, "last"),
    ]
    docker.ok("wait", name)
    result = docker("logs", name)
    assert (result.out, result.err) == ("first\nlast", "second\n")


def test_gelf_over_udp_in_chunks(docker: Docker, name: str, serve: Any) -> None:
    server = serve(socket.SOCK_DGRAM)
    docker.ok(
        *(
            "run",
            "-d",
            "--name",
            name,
            "--log-driver",
            "gelf",
            "--log-opt",
            f"gelf-address=udp://127.0.0.1:{server.port}",
        ),
        *("--log-opt", "labels=team", "--label", "team=blue"),
        *("busybox", "sh", "-c", "echo hello; sleep 0.2; head -c 6000 /dev/urandom | base64 -w 0; echo"),
    )
    record = json.loads(gzip.decompress(server.read()))
    assert (record["version"], record["short_message"], record["level"]) == ("1.1", "hello", 6)
    assert (record["_container_name"], record["_team"], record["_image_name"]) == (name, "blue", "busybox")
    assert abs(record["timestamp"] - time.time()) < 30
    chunks: dict[int, bytes] = {}
    total = 1
    while len(chunks) < total:
        datagram = server.read()
        assert datagram[:2] == b"\x1e\x0f"
        number, total = datagram[10], datagram[11]
        chunks[number] = datagram[12:]
    long = json.loads(gzip.decompress(b"".join(chunks[number] for number in sorted(chunks))))
    assert len(long["short_message"]) == 8000


def test_gelf_over_tcp(docker: Docker, name: str, serve: Any) -> None:
    server = serve(socket.SOCK_STREAM)
    address = f"gelf-address=tcp://127.0.0.1:{server.port}"
    docker.ok("run", "-d", "--name", name, "--log-driver", "gelf", "--log-opt", address, "busybox", "sh", "-c", SCRIPT)
    records = [json.loads(text) for text in server.read_until(3, b"\0").split(b"\0")[:3]]
    assert [(record["short_message"], record["level"]) for record in records] == [
        ("first", 6),
        ("second", 3),
        ("last", 6),
    ]


def take(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise EOFError
    return data[:size], data[size:]


def unpack(data: bytes) -> tuple[Any, bytes]:
    """Read one msgpack value of the kinds that the forward protocol has here."""
    (kind,), rest = take(data, 1)
    if kind & 0xE0 == 0xA0:
        text, rest = take(rest, kind & 31)
        return text.decode(), rest
    if kind in (0xD9, 0xDA, 0xDB):
        number, rest = take(rest, 1 << kind - 0xD9)
        text, rest = take(rest, int.from_bytes(number))
        return text.decode(), rest
    if kind in (0xCE, 0xD2):
        number, rest = take(rest, 4)
        return int.from_bytes(number), rest
    if kind in (0xCF, 0xD3):
        number, rest = take(rest, 8)
        return int.from_bytes(number), rest
    if kind == 0xC0:
        return None, rest
    items = []
    for _ in range((kind & 15) * (2 if kind & 0xF0 == 0x80 else 1)):
        item, rest = unpack(rest)
        items.append(item)
    return (dict(zip(items[::2], items[1::2], strict=True)) if kind & 0xF0 == 0x80 else items), rest


def test_fluentd(docker: Docker, name: str, serve: Any) -> None:
    server = serve(socket.SOCK_STREAM)
    docker.ok(
        *("run", "-d", "--name", name, "--log-driver", "fluentd", "--log-opt", "tag=app.{{.Name}}"),
        *("--log-opt", f"fluentd-address=127.0.0.1:{server.port}", "--log-opt", "env=COLOUR", "-e", "COLOUR=red"),
        *("busybox", "sh", "-c", "echo first; sleep 0.2; head -c 20000 /dev/zero | tr '\\0' x; echo"),
    )
    (tag, moment, record, *_), (_, _, begin, *_), (_, _, end, *_) = server.read_messages(3)
    assert tag == f"app.{name}"
    assert abs(moment - time.time()) < 30
    assert (record["log"], record["source"], record["container_name"], record["COLOUR"]) == (
        "first", "stdout", f"/{name}", "red",
    )  # fmt: skip
    assert len(begin["log"] + end["log"]) == 20000
    assert begin["partial_id"] == end["partial_id"]
    assert [(part["partial_ordinal"], part["partial_last"]) for part in (begin, end)] == [("1", "false"), ("2", "true")]


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *(
                "-keyout",
                key,
                "-out",
                made,
                "-days",
                "2",
                "-subj",
                "/CN=logs",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


@pytest.mark.parametrize("check", ["ca", "skip"])
def test_syslog_over_tls(docker: Docker, name: str, serve: Any, certificate: tuple[Path, Path], check: str) -> None:
    """RFC 5425: each message of the new format has its length in front."""
    server = serve(socket.SOCK_STREAM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.listener = context.wrap_socket(server.listener, server_side=True)
    option = f"syslog-tls-ca-cert={certificate[0]}" if check == "ca" else "syslog-tls-skip-verify=true"
    with ThreadPoolExecutor() as threads:  # the start waits until the server has shaken hands
        got = threads.submit(server.read_until, 3, b"\n")
        docker.ok(
            *("run", "-d", "--name", name, "--log-driver", "syslog", "--log-opt", option, "--log-opt", "tag=tls"),
            *("--log-opt", f"syslog-address=tcp+tls://127.0.0.1:{server.port}", "--log-opt", "syslog-format=rfc5424"),
            *("busybox", "sh", "-c", SCRIPT),
        )
        data = got.result()
    texts = []
    while data:
        size, _, rest = data.partition(b" ")
        texts.append(rest[: int(size)])
        data = rest[int(size) :]
    assert [text.rpartition(b" ")[2] for text in texts] == [b"first\n", b"second\n", b"last\n"]
    assert all(text.startswith(b"<") for text in texts)


def test_a_server_whose_certificate_nobody_knows(
    docker: Docker, name: str, serve: Any, certificate: tuple[Path, Path]
) -> None:
    server = serve(socket.SOCK_STREAM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.listener = context.wrap_socket(server.listener, server_side=True)
    with ThreadPoolExecutor() as threads:
        refused = threads.submit(server.read)
        address = f"syslog-address=tcp+tls://127.0.0.1:{server.port}"
        told = docker("run", "--rm", "--log-driver", "syslog", "--log-opt", address, "busybox", "true").err
        with pytest.raises(OSError):
            refused.result()
    assert "failed to initialize logging driver: tls: failed to verify certificate: x509: " in told
    missing = ("--log-opt", address, "--log-opt", "syslog-tls-ca-cert=/not/there.pem")
    told = docker("run", "--rm", "--log-driver", "syslog", *missing, "busybox", "true").err
    assert "open /not/there.pem: no such file or directory" in told


def test_fluentd_acknowledges(docker: Docker, name: str, serve: Any) -> None:
    """What the server has not acknowledged when it goes away is sent again; what it has, is not."""
    server = serve(socket.SOCK_STREAM)
    docker.ok(
        *("run", "-d", "--name", name, "--log-driver", "fluentd", "--log-opt", "fluentd-request-ack=true"),
        *("--log-opt", f"fluentd-address=127.0.0.1:{server.port}", "--log-opt", "fluentd-retry-wait=200ms"),
        *("--log-opt", "fluentd-sub-second-precision=true"),
        *("--init", "busybox", "sh", "-c", "echo one; echo two; sleep 1000"),
    )
    first = server.read_until(1, b"chunk")
    assert first.count(b"one") == 1 and b"two" not in first, "the next waits for the word"
    server.connection.close()
    server.connection, server.data = None, b""
    again = server.read_until(1, b"chunk")
    while len(again) < len(first):
        again += server.read()
    assert again.count(b"one") == 1 and again[-24:] == first[-24:]
    server.connection.sendall(b"\x81\xa3ack\xb8" + again[-24:])
    server.data = b""
    second = server.read_until(1, b"chunk")
    assert b"two" in second and b"one" not in second


def test_a_server_that_has_to_be_there(docker: Docker, name: str) -> None:
    for driver, option in (("syslog", "syslog-address=tcp://127.0.0.1:1"), ("fluentd", "fluentd-address=127.0.0.1:1")):
        message = docker("run", "--rm", "--log-driver", driver, "--log-opt", option, "busybox", "true").err
        assert "failed to create task for container: failed to initialize logging driver: " in message
        assert "dial tcp 127.0.0.1:1: connect: connection refused" in message


def test_a_server_that_comes_late(docker: Docker, name: str, serve: Any) -> None:
    port = serve(socket.SOCK_DGRAM).port  # a number that no other test has now
    docker.ok(
        *("run", "-d", "--name", name, "--log-driver", "fluentd", "--log-opt", "fluentd-async=true"),
        *("--log-opt", f"fluentd-address=127.0.0.1:{port}", "--log-opt", "fluentd-retry-wait=200ms"),
        *("--init", "busybox", "sh", "-c", "echo early; sleep 1000"),
    )
    time.sleep(1)
    server = serve(socket.SOCK_STREAM, port)
    assert b"early" in server.read_until(1, b"early")


@pytest.mark.skipif(ON_DOCKERD, reason="in mode blocking dockerd stops the container")
@pytest.mark.parametrize("mode", ["blocking", "non-blocking"])
def test_a_server_that_stops_reading(docker: Docker, name: str, serve: Any, mode: str) -> None:
    server = serve(socket.SOCK_STREAM)
    address = f"syslog-address=tcp://127.0.0.1:{server.port}"
    docker.ok(
        *("run", "-d", "--name", name, "--log-driver", "syslog", "--log-opt", address, "--log-opt", f"mode={mode}"),
        *("busybox", "sh", "-c", "head -c 40000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo done"),
    )
    assert docker.ok("wait", name) == "0"
    assert docker.ok("logs", "--tail", "1", name) == "done"


def test_options_are_checked(docker: Docker) -> None:
    for options, message in (
        (("syslog", "syslog-address=tpc://x"), "unsupported scheme: 'tpc'"),
        (("syslog", "syslog-facility=99"), "invalid syslog facility"),
        (("syslog", "syslog-format=x"), "Invalid syslog format"),
        (("syslog", "gelf-address=x"), "unknown log opt 'gelf-address' for syslog log driver"),
        (("gelf", "tag=x"), "gelf-address is a required parameter"),
        (("gelf", "gelf-address=udp://localhost"), "gelf: please provide gelf-address as proto://host:port"),
        (("gelf", "gelf-address=ftp://localhost:1"), "gelf: endpoint needs to be TCP or UDP"),
        (("fluentd", "fluentd-address=ftp://x"), "invalid fluentd-address (ftp://x): unsupported scheme: 'ftp'"),
        (("journald", "max-size=1"), "unknown log opt 'max-size' for journald log driver"),
        (("local", "tag=x"), "unknown log opt 'tag' for log driver local"),
    ):
        driver, option = options
        assert message in docker("create", "--log-driver", driver, "--log-opt", option, "busybox").err


def test_a_log_without_a_copy_cannot_be_read(docker: Docker, name: str, serve: Any) -> None:
    server = serve(socket.SOCK_DGRAM)
    docker.ok(
        *("run", "--name", name, "--log-driver", "syslog", "--log-opt", "cache-disabled=true"),
        *("--log-opt", f"syslog-address=udp://127.0.0.1:{server.port}", "busybox", "echo", "hello"),
    )
    assert b"hello" in server.read()
    assert "configured logging driver does not support reading" in docker.fails("logs", name)


@pytest.mark.skipif(ON_DOCKERD, reason="the socket has to be in the engine's own place")
def test_journald(docker: Docker, name: str) -> None:
    path = Path("/run/systemd/journal/socket")
    if path.exists():
        pytest.skip("a real journald has the socket")
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(LIMIT_S)
        try:
            docker.ok(
                "run",
                "--name",
                name,
                "--log-driver",
                "journald",
                "busybox",
                "sh",
                "-c",
                "echo a; sleep 0.2; echo b >&2",
            )
            first, second = (
                dict(line.split("=", 1) for line in server.recv(65536).decode().splitlines()) for _ in "ab"
            )
        finally:
            os.unlink(path)
    assert (first["MESSAGE"], first["PRIORITY"], first["CONTAINER_NAME"]) == ("a", "6", name)
    assert (second["MESSAGE"], second["PRIORITY"], second["CONTAINER_LOG_ORDINAL"]) == ("b", "3", "2")
    assert docker.ok("logs", name) == "a"
