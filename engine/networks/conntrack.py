"""Forgetting UDP flows whose translation has changed.

The kernel decides about a flow's translation once. A client that keeps sending to a UDP port would never reach the
container that published it later, or would still reach the address of one that has gone (TCP connections end instead).
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterable

from .netlink import Netlink
from .records import PortBinding

logger = logging.getLogger(__name__)

# linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h, net/netfilter/nf_internals.h
_NETLINK_NETFILTER = 12
_NLM_F_REQUEST = 0x1
_NLM_F_ACK = 0x4
_NLM_F_DUMP = 0x300
_NLA_F_NESTED = 0x8000
_NLA_TYPE_MASK = 0x3FFF
_IPCTNL_MSG_CT_GET = 1 << 8 | 1
_IPCTNL_MSG_CT_DELETE = 1 << 8 | 2
_CTA_TUPLE_ORIG = 1
_CTA_TUPLE_REPLY = 2
_CTA_FILTER = 25
_CTA_TUPLE_IP = 1
_CTA_TUPLE_PROTO = 2
_CTA_IP_V4_SRC = 1
_CTA_PROTO_NUM = 1
_CTA_PROTO_DST_PORT = 3
_CTA_FILTER_ORIG_FLAGS = 1
_CTA_FILTER_REPLY_FLAGS = 2
_FILTER_PROTO_NUM = 1 << 3
_HEADERS_BYTES = 20  # nlmsghdr and nfgenmsg
_UDP = bytes([socket.IPPROTO_UDP])


def forget(address: str, bindings: Iterable[PortBinding]) -> None:
    """Forget the flows to the published UDP ports, and those that an address answered. Without UDP ports, nothing.

    All flows are looked at once, however many ports there are; it takes milliseconds.
    """
    ports = {struct.pack("!H", binding.host_port) for binding in bindings if binding.protocol == "udp"}
    if not ports:
        return
    answering = socket.inet_aton(address)
    try:
        with Netlink(_NETLINK_NETFILTER) as netlink:
            for flow in netlink.dump(_udp_flows()):
                original = _stale(flow[_HEADERS_BYTES:], ports, answering)
                if original:
                    netlink.request(_message(_IPCTNL_MSG_CT_DELETE, _NLM_F_ACK, _nested(_CTA_TUPLE_ORIG, original)))
    except FileNotFoundError:
        pass  # the flow has ended by itself
    except OSError as error:
        logger.warning("UDP flows of %s were not forgotten: %s", address, error)


def _stale(flow: bytes, ports: set[bytes], answering: bytes) -> bytes:
    """Return the original direction's tuple of a flow that is to be forgotten, else nothing."""
    attributes = _attributes(flow)
    original, reply = attributes.get(_CTA_TUPLE_ORIG, b""), _attributes(attributes.get(_CTA_TUPLE_REPLY, b""))
    protocol = _attributes(_attributes(original).get(_CTA_TUPLE_PROTO, b""))
    if protocol.get(_CTA_PROTO_NUM) != _UDP:
        return b""
    source = _attributes(reply.get(_CTA_TUPLE_IP, b"")).get(_CTA_IP_V4_SRC)
    return original if source == answering or protocol.get(_CTA_PROTO_DST_PORT) in ports else b""


def _udp_flows() -> bytes:
    wanted = _nested(_CTA_TUPLE_ORIG, _nested(_CTA_TUPLE_PROTO, _attribute(_CTA_PROTO_NUM, _UDP)))
    flags = _attribute(_CTA_FILTER_ORIG_FLAGS, struct.pack("=I", _FILTER_PROTO_NUM))
    flags += _attribute(_CTA_FILTER_REPLY_FLAGS, struct.pack("=I", 0))
    return _message(_IPCTNL_MSG_CT_GET, _NLM_F_DUMP, wanted + _nested(_CTA_FILTER, flags))


def _message(kind: int, flags: int, attributes: bytes) -> bytes:
    body = struct.pack("!BBH", socket.AF_INET, 0, 0) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | flags, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, attributes: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, attributes)


def _attributes(data: bytes) -> dict[int, bytes]:
    """Take a chain of attributes apart."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        found[kind & _NLA_TYPE_MASK] = data[offset + 4 : offset + length]
        offset += max(4, length + -length % 4)
    return found
