from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
from lightship.engine.shim import protocol
from lightship.engine.shim.protocol import Failure, FdSet


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def test_a_message_and_its_descriptors(pair):
    ours, theirs = pair
    read_fd, write_fd = os.pipe()
    protocol.send(ours, {"op": "x", "text": "grüße"}, {"out": write_fd, "in": read_fd})
    os.close(write_fd)
    message, fds = protocol.receive(theirs)
    assert (message["op"], message["text"]) == ("x", "grüße")
    stolen = fds.steal("out")
    assert not os.get_inheritable(stolen)
    os.write(stolen, b"through")
    os.close(stolen)
    fds.close()
    assert os.read(read_fd, 100) == b"through"
    assert os.read(read_fd, 100) == b"", "the set closed what was not stolen, and there is no other copy"
    os.close(read_fd)


@pytest.mark.parametrize("size", [0, 65_000, protocol.MAX_MESSAGE_BYTES, 3_000_000])
def test_a_body_of_any_size(pair, size):
    ours, theirs = pair
    with open(os.devnull) as null:
        protocol.send(ours, {"body": "x" * size}, {"null": null.fileno()})
    message, fds = protocol.receive(theirs)
    assert len(message["body"]) == size
    assert "null" in fds
    fds.close()


def test_the_end(pair):
    ours, theirs = pair
    ours.close()
    assert protocol.receive(theirs) is None


@pytest.mark.parametrize("body", [b"{", b"not json", b"[1]", b"\0", b'{"fds":["a"]}', b'{"fds":1}'])
def test_what_is_no_message(pair, body):
    ours, theirs = pair
    ours.send(body)
    with pytest.raises(ValueError):
        protocol.receive(theirs)


def test_a_full_socket_takes_all_or_nothing(pair):
    ours, theirs = pair
    ours.setblocking(False)
    sent = 0
    with pytest.raises(BlockingIOError):
        while True:
            protocol.send(ours, {"number": sent, "padding": "x" * 1000})
            sent += 1
    assert [protocol.receive(theirs)[0]["number"] for _ in range(sent)] == list(range(sent))
    theirs.setblocking(False)
    with pytest.raises(BlockingIOError):
        protocol.receive(theirs)


def test_a_descriptor_that_did_not_come():
    with pytest.raises(Failure) as raised:
        FdSet([], []).steal("client")
    assert raised.value.kind == "invalid_argument"


def test_sockets_in_deep_directories(tmp_path):
    deep = tmp_path / ("d" * 200) / "bundle"
    deep.mkdir(parents=True)
    (deep / "shim.sock").write_text("left over")
    with protocol.listen(str(deep), "shim.sock") as listener, protocol.connect(str(deep), "shim.sock") as connection:
        assert (deep / "shim.sock").stat().st_mode & 0o777 == 0o600
        accepted, _ = listener.accept()
        with accepted:
            protocol.send(connection, {"op": "state"})
            assert protocol.receive(accepted)[0] == {"op": "state"}
    with pytest.raises(OSError):
        protocol.connect(str(deep), "shim.sock")
