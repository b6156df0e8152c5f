"""Attach over a websocket, with a client that speaks the protocol by itself."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace

import pytest
from lightship.engine.errors import Forbidden
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)

from .conftest import FakeAttachment
from .test_hijack import echo


class Client:
    def __init__(self, served, target):
        self.socket = served.connect()
        self.protocol = WSConnection(ConnectionType.CLIENT)
        self.send(Request(host="docker", target=target))

    def send(self, event):
        self.socket.sendall(self.protocol.send(event))

    def events(self):
        """Give events until the connection ends."""
        while True:
            data = self.socket.recv(65536)
            self.protocol.receive_data(data or None)
            yield from self.protocol.events()
            if not data:
                return


@pytest.mark.parametrize(("version", "message"), [("1.27", TextMessage), ("1.28", BytesMessage)])
def test_both_directions_and_the_end(served, version, message):
    served.engine.containers.attachment = FakeAttachment(False, echo)
    client = Client(served, f"/v{version}/containers/one/attach/ws?stream=1&stdin=1&stdout=1")
    events = client.events()
    assert isinstance(next(events), AcceptConnection)
    first = next(events)
    assert isinstance(first, message) and len(first.data) == 2
    client.send(TextMessage(data="hello"))
    second = next(events)
    assert second.data in ("hello", b"hello")
    client.send(BytesMessage(data=b"\x00\xff"))
    assert isinstance(next(events), message)
    client.socket.shutdown(socket.SHUT_WR)
    options = served.engine.containers.calls[0][2]
    assert (options.framed, options.stdin, options.stdout) == (False, True, True)
    served.engine.containers.attachment.threads[0].join(60)
    assert not served.engine.containers.attachment.threads[0].is_alive()


def test_the_end_of_the_container_closes(served):
    served.engine.containers.attachment = FakeAttachment(True, lambda client, prefix: client.close())
    events = list(Client(served, "/containers/one/attach/ws?stream=1").events())
    assert [type(event) for event in events][:2] == [AcceptConnection, CloseConnection]


def test_every_stream_was_meant_before_1_42(served):
    served.engine.containers.attachment = FakeAttachment(True, lambda client, prefix: client.close())
    list(Client(served, "/v1.41/containers/one/attach/ws?stream=1").events())
    options = served.engine.containers.calls[0][2]
    assert (options.stdin, options.stdout, options.stderr) == (True, True, True)


def test_errors_are_answered_before_the_upgrade(served):
    rejected, body, *_ = Client(served, "/containers/x/attach/ws").events()
    assert isinstance(rejected, RejectConnection) and rejected.status_code == 404
    assert isinstance(body, RejectData)
    assert json.loads(body.data) == {"message": "No such container: x"}


def test_it_needs_a_websocket(served):
    response, body = served.request("GET", "/containers/one/attach/ws")
    assert response.status == 400
    assert json.loads(body)["message"]


@pytest.mark.parametrize("denied", ["AuthZReq", "AuthZRes"])
def test_authorization_plugins_are_asked(served, denied):
    """Before it opens they can refuse it; afterwards they are told."""
    asked = []

    async def ask(verb, question):
        asked.append((verb, question["RequestMethod"], question["RequestUri"]))
        if verb == denied:
            raise Forbidden("authorization denied by plugin p: no")

    served.engine.authorization = SimpleNamespace(names=("p",), ask=ask)
    served.engine.containers.attachment = FakeAttachment(True, lambda client, prefix: client.close())
    events = list(Client(served, "/v1.47/containers/one/attach/ws?stream=1").events())
    target = ("GET", "/v1.47/containers/one/attach/ws?stream=1")
    if denied == "AuthZReq":
        assert isinstance(events[0], RejectConnection) and events[0].status_code == 403
        assert json.loads(events[1].data)["message"] == "authorization denied by plugin p: no"
        assert asked == [("AuthZReq", *target)]
    else:
        assert isinstance(events[0], AcceptConnection)
        assert asked == [("AuthZReq", *target), ("AuthZRes", *target)]
