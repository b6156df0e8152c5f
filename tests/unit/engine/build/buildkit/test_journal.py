"""What is told of a build: in BuildKit's words, from the beginning, for everyone who follows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from lightship.engine.build.buildkit import usage
from lightship.engine.build.buildkit.history import History
from lightship.engine.build.buildkit.journal import Journal, response, stamp
from lightship.engine.build.buildkit.protocol.control_pb2 import BuildHistoryRecord, PruneRequest
from lightship.engine.build.graph import Location
from lightship.engine.build.progress import Log, Status, Vertex, Warning
from lightship.engine.errors import InvalidArgument, NotFound


def test_words():
    told = response(
        [
            Vertex("sha256:1", "[1/2] RUN x", ("sha256:0",), True, 1_500_000_000, 2_000_000_000, "failed"),
            Log("sha256:1", 2, b"out", 3),
            Status("sha256:1", "transferring context:", 5, 10, 1, None, 7),
            Warning(
                "Rule",
                "Rule: bad thing (line 3)",
                "https://x",
                ("detail",),
                (Location(3, 4),),
                b"FROM x",
                "Dockerfile",
                "sha256:1",
            ),
        ]
    )
    vertex, log, status, warning = told.vertexes[0], told.logs[0], told.statuses[0], told.warnings[0]
    assert (vertex.digest, vertex.name, list(vertex.inputs)) == ("sha256:1", "[1/2] RUN x", ["sha256:0"])
    assert (vertex.started.seconds, vertex.started.nanos, vertex.is_cached, vertex.error) == (
        1,
        500_000_000,
        True,
        "failed",
    )
    assert (log.stream, log.message) == (2, b"out")
    assert (status.id, status.current, status.total, status.HasField("completed")) == (
        "transferring context:",
        5,
        10,
        False,
    )
    assert warning.short == b"Rule: bad thing (line 3)"
    assert (warning.ranges[0].start.line, warning.ranges[0].end.line) == (3, 4)
    assert (warning.info.filename, warning.info.data, list(warning.detail)) == ("Dockerfile", b"FROM x", [b"detail"])


def test_everyone_hears_everything():
    async def follow(journal: Journal) -> list[str]:
        return [vertex.name async for news in journal.follow() for vertex in news.vertexes]

    async def scenario() -> list[list[str]]:
        journal = Journal()
        journal.tell(Vertex("1", "one"))
        early = asyncio.create_task(follow(journal))
        await asyncio.sleep(0)
        journal.tell(Vertex("2", "two"))
        late = asyncio.create_task(follow(journal))
        await asyncio.sleep(0)
        journal.tell(Vertex("3", "three"))
        journal.end()
        return [await early, await late, await follow(journal)]

    assert asyncio.run(scenario()) == [["one", "two", "three"]] * 3


def test_output_has_a_limit():
    async def scenario() -> bytes:
        journal = Journal()
        for _ in range(5):
            journal.tell(Log("1", 1, b"x" * (1 << 20), 0))
        return b"".join(log.message for log in journal.everything().logs)

    written = asyncio.run(scenario())
    assert written.startswith(b"x" * (2 << 20) + b"\n[output clipped")
    assert len(written) < (2 << 20) + 100


def record(ref: str, seconds: int) -> BuildHistoryRecord:
    now = 4_000_000_000
    return BuildHistoryRecord(ref=ref, created_at=stamp((now + seconds) * 10**9), completed_at=stamp(now * 10**9))


def test_history_outlives_the_daemon(tmp_path):
    history = History(tmp_path)
    history.end(record("../one", 1), response([Vertex("1", "step")]), {})
    history.pin("../one", is_pinned=True)
    again = History(tmp_path)
    assert again.logs("../one").vertexes[0].name == "step"
    again.remove("../one")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound):
        again.remove("../one")


def test_history_is_bounded_but_for_what_is_pinned(tmp_path):
    history = History(tmp_path)
    history.end(record("first", 0), response([]), {})
    history.pin("first", is_pinned=True)
    for position in range(60):
        history.end(record(f"b{position}", position + 1), response([]), {})
    assert history.logs("first") is not None
    assert history.logs("b9") is None
    assert history.logs("b10") is not None


def test_listening(tmp_path):
    async def scenario() -> list[tuple[int, str]]:
        history = History(tmp_path)
        history.end(record("old", 0), response([]), {})
        events = history.listen(ref="", active_only=False, early_exit=False)
        heard = [await anext(events)]
        history.begin(record("new", 1))
        history.end(record("new", 1), response([]), {})
        heard += [await anext(events), await anext(events)]
        await events.aclose()
        quick = [event async for event in history.listen(ref="new", active_only=False, early_exit=True)]
        return [(event.type, event.record.ref) for event in heard + quick]

    assert asyncio.run(scenario()) == [(1, "old"), (0, "new"), (1, "new"), (1, "new")]


def test_filters_of_the_cache():
    found = usage.filters(["type==source.local,private", "id~=ab"])
    assert (found.get("type"), found.get("private"), found.get("id")) == (["source.local"], ["true"], ["ab"])
    with pytest.raises(InvalidArgument):
        usage.filters(["type!=x"])
    assert usage.keep(PruneRequest(keep_duration_ns=5, max_used_space=7)).duration_ns == 5


def test_provenance_goes_with_its_record(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.end(record("one", 1), response([]), {"linux/amd64": b"of one"})
    history.end(record("two", 2), response([]), {"linux/amd64": b"of amd64", "linux/arm64": b"of arm64"})
    again = History(tmp_path)
    [attestation] = again._find("one").result.attestations
    assert again.read(attestation.digest) == b"of one"
    assert sorted(again._find("two").results) == ["linux/amd64", "linux/arm64"]
    again.remove("two")
    again.remove("one")
    assert not list(tmp_path.iterdir())
    with pytest.raises(NotFound):
        again.read(attestation.digest)
