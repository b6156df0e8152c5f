"""Receiving a directory from a client: fsutil's protocol, of which `tree` does what touches the disk.

The client tells of every file; those that differ from what is there are asked for, and come in pieces, several files at
a time. Then both sides say that they are done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from grpclib.client import Stream

from ...errors import InvalidArgument
from .bulk import Bulk
from .protocol.session_pb2 import Packet, Stat
from .tree import Tree

_FEW = 32
"""So many pieces of files are written while more are read."""


async def receive(stream: Stream[Packet, Packet], directory: Path, told: Callable[[int], None]) -> None:
    """Make `directory` what the client tells of; `told` hears of the bytes received."""
    packets, tree = Bulk(stream, Packet), Tree(directory)
    stats = await _stats(packets, told)
    with packets.paused():
        wanted = await asyncio.to_thread(tree.prepare, stats)
    asking = asyncio.create_task(packets.send(Packet(type=Packet.REQUEST, id=id) for id in wanted))
    try:
        await _fill(packets, tree, told)
        await asking
    finally:
        asking.cancel()
        await asyncio.to_thread(tree.close)
    await asyncio.to_thread(tree.finish)
    await stream.send_message(Packet(type=Packet.FINISH), end=True)
    while await packets.read():
        told(packets.received_bytes)


async def _stats(packets: Bulk[Packet], told: Callable[[int], None]) -> list[Stat]:
    stats: list[Stat] = []
    while True:
        for packet in await _read(packets, told):
            if packet.type != Packet.STAT:
                raise InvalidArgument("the client sent data that nobody has asked for")
            if not packet.HasField("stat"):
                return stats
            stats.append(packet.stat)


async def _fill(packets: Bulk[Packet], tree: Tree, told: Callable[[int], None]) -> None:
    """Write what comes until no file is missing."""
    while tree.wanted:
        found = await _read(packets, told)
        if any(packet.type != Packet.DATA for packet in found):
            raise InvalidArgument("the client told of a file after the last")
        pieces = [(packet.id, packet.data) for packet in found]
        with packets.paused() if len(pieces) > _FEW else nullcontext():
            await asyncio.to_thread(tree.write, pieces)


async def _read(packets: Bulk[Packet], told: Callable[[int], None]) -> list[Packet]:
    found = await packets.read()
    if not found:
        raise InvalidArgument("the client stopped in the middle of its files")
    for packet in found:
        if packet.type == Packet.ERROR:
            raise InvalidArgument(f"error from sender: {packet.data.decode(errors='replace')}")
    told(packets.received_bytes)
    return found
