"""Responses that go on, bodies that are read while they come, and connections that end early."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from .test_hijack import until


def chunks(body: bytes) -> list[bytes]:
    """Split a chunked body into its chunks."""
    found = []
    while True:
        size, _, body = body.partition(b"\r\n")
        if not int(size, 16):
            return found
        found.append(body[: int(size, 16)])
        body = body[int(size, 16) + 2 :]


def open_stream(served, request: bytes) -> socket.socket:
    client = served.connect()
    client.sendall(request + b" HTTP/1.1\r\nHost: d\r\n\r\n")
    return client


def test_wait_sends_its_head_first(served):
    client = open_stream(served, b"POST /containers/one/wait?condition=next-exit")
    head = until(client, b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Transfer-Encoding: chunked" in head and b"Content-Type: application/json" in head
    served.call(served.engine.containers.finished.set)
    assert chunks(until(client, b"0\r\n\r\n")) == [b'{"StatusCode":7}\n']


def test_wait_before_1_30_sends_nothing_until_the_end(served):
    client = open_stream(served, b"POST /v1.29/containers/one/wait")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(60)
    served.call(served.engine.containers.finished.set)
    assert until(client, b"\n").endswith(b'\r\n\r\n{"StatusCode":7}\n')


def test_a_client_that_hangs_up_ends_the_wait(served):
    client = open_stream(served, b"POST /containers/one/wait")
    until(client, b"\r\n\r\n")
    client.close()
    deadline = time.monotonic() + 60
    while ("wait cancelled",) not in served.engine.containers.calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_events_come_one_a_chunk_after_the_head(served):
    client = open_stream(served, b"GET /v1.45/events")
    assert b"Content-Type: application/json" in until(client, b"\r\n\r\n")
    served.call(served.engine.events.publish, "container", "start", "c1", {"image": "busybox"})
    first = until(client, b"\n\r\n")
    served.call(served.engine.events.publish, "image", "create", "i1", {})
    served.call(served.engine.events.publish, "image", "tag", "i1", {})
    second = until(client, b"\n\r\n")
    event = json.loads(chunks(first + b"0\r\n")[0])
    assert (event["status"], event["id"], event["from"]) == ("start", "c1", "busybox")
    assert json.loads(chunks(second + b"0\r\n")[0])["Action"] == "tag"
    client.close()
    deadline = time.monotonic() + 60
    while served.engine.events.listeners:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("version", "accept", "media_type", "start"),
    [
        ("1.51", "", "application/json", b"{"),
        ("1.52", "*/*", "application/jsonl", b"{"),
        ("1.52", "application/x-ndjson", "application/x-ndjson", b"{"),
        ("1.52", "application/jsonl;q=0.1, application/json-seq", "application/json-seq", b"\x1e{"),
    ],
)
def test_events_speak_the_type_that_was_asked_for(served, version, accept, media_type, start):
    served.call(served.engine.events.publish, "volume", "create", "v", {})
    until_now = f"/v{version}/events?since=1&until={time.time() + 0.1:.9f}"
    response, body = served.request("GET", until_now, accept=accept)
    assert response.headers["Content-Type"] == media_type
    assert body.startswith(start) and body.endswith(b"}\n")
    assert ("status" in json.loads(body.lstrip(b"\x1e"))) is False


def test_logs_are_sent_as_they_come(served):
    client = open_stream(served, b"GET /v1.50/containers/one/logs?stdout=1&tail=5&since=1.5")
    answer = until(client, b"0\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/vnd.docker.multiplexed-stream" in head
    assert chunks(body) == [b"first\n", b"second\n"]
    options = served.engine.containers.calls[0][1]
    assert (options.stdout, options.stderr, options.tail, options.since) == (True, False, "5", 1_500_000_000)


def test_logs_are_open_before_the_client_is_answered(served):
    """docker-py removes the container as soon as it has the head, and reads after that."""
    served.engine.containers.logs_open.clear()
    client = open_stream(served, b"GET /containers/one/logs?stdout=1&follow=1")
    client.settimeout(0.2)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(60)
    served.call(served.engine.containers.logs_open.set)
    assert chunks(until(client, b"0\r\n\r\n").partition(b"\r\n\r\n")[2]) == [b"first\n", b"second\n"]


def test_a_load_is_read_while_it_comes(served):
    data = b"x" * 100_000
    client = served.connect()
    client.sendall(b"POST /images/load HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(30):
        client.sendall(b"%x\r\n" % len(data) + data + b"\r\n")
    client.sendall(b"0\r\n\r\n")
    answer = until(client, b"0\r\n\r\n")
    assert chunks(answer.partition(b"\r\n\r\n")[2]) == [b'{"stream":"3000000\\n"}\r\n']


def test_continue_is_sent_to_who_waits_for_it(served):
    client = served.connect()
    client.sendall(b"POST /images/load HTTP/1.1\r\nHost: d\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
    assert until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    client.sendall(b"abc")
    assert b'{"stream":"3\\n"}' in until(client, b"0\r\n\r\n")


def test_an_error_after_the_head_is_told_in_the_stream(served):
    served.engine.images.fail_after = True
    response, body = served.request("POST", "/images/load", b"abc")
    assert response.status == 200
    last = json.loads(body.splitlines()[-1])
    assert last == {"errorDetail": {"message": "disk full"}, "error": "disk full"}


def test_an_upload_broken_off_is_let_go(served):
    client = served.connect()
    client.sendall(b"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: 1000\r\n\r\nabc")
    client.close()
    assert served.request("GET", "/_ping")[0].status == 200


def test_a_small_body_that_nobody_reads_is_dropped_and_the_connection_kept(served):
    client = served.connect()
    for _ in range(3):
        client.sendall(b"POST /nope HTTP/1.1\r\nHost: d\r\nContent-Length: 50000\r\n\r\n")
        assert until(client, b'page not found"}\n').startswith(b"HTTP/1.1 404")
        client.sendall(b"x" * 50000)
    client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
    assert until(client, b"OK").startswith(b"HTTP/1.1 200 OK")


def test_a_large_body_that_nobody_reads_ends_the_connection(served):
    client = served.connect()
    client.sendall(b"POST /nope HTTP/1.1\r\nHost: d\r\nContent-Length: 10000000\r\n\r\n")

    def send() -> None:
        with pytest.raises(OSError):
            client.sendall(b"x" * 10_000_000)

    sender = threading.Thread(target=send)
    sender.start()
    sender.join(60)
    assert not sender.is_alive()
    assert client.recv(65536).startswith(b"HTTP/1.1 404")


def test_a_client_that_half_closes_is_still_answered(served):
    client = served.connect()
    client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    assert b"".join(iter(lambda: client.recv(65536), b"")).endswith(b"\r\n\r\nOK")


def test_http_1_0_closes(served):
    answer = served.raw(b"GET /_ping HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nOK")
    assert b"Connection: close" in answer


def test_http_1_0_streams_without_chunks(served):
    answer = served.raw(b"GET /containers/one/logs?stdout=1 HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nfirst\nsecond\n")
    assert b"chunked" not in answer


def test_requests_may_be_pipelined(served):
    request = b"GET /_ping HTTP/1.1\r\nHost: d\r\n"
    client = served.connect()
    client.sendall((request + b"\r\n") * 5 + request + b"Connection: close\r\n\r\n")
    answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 OK") == 6


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: d\r\nContent-Length: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: d\r\nX: " + b"y" * (2 << 20) + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_no_http_1_is_refused_and_closed(served, request_bytes, status):
    client = served.connect()
    try:
        client.sendall(request_bytes)
    except BrokenPipeError:
        pass
    assert client.recv(65536).split(b" ")[1] == status


def test_connections_live_for_many_requests(served):
    client = served.connect()
    for _ in range(1500):
        client.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert until(client, b"OK")
