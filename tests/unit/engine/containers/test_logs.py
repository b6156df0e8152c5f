"""Reading a log: records over any number of files, from any line on, and while it is written and rotated."""

from __future__ import annotations

import gzip
import json
import os
import struct
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightship.engine.containers.logfiles import LogFiles
from lightship.engine.containers.logformat import Formatter, LogsOptions
from lightship.engine.times import rfc3339

BOTH = {"stdout": True, "stderr": True}
BASE_NS = 1_700_000_000_000_000_000


def record(text: str, stream: str = "stdout", time_ns: int = BASE_NS, **more: object) -> bytes:
    return json.dumps({"log": text, "stream": stream, **more, "time": rfc3339(time_ns)}).encode() + b"\n"


def read_all(files: LogFiles) -> bytes:
    blocks = []
    while block := files.read():
        assert block.endswith(b"\n")
        blocks.append(block)
    return b"".join(blocks)


def frames(data: bytes) -> list[tuple[int, bytes]]:
    found, position = [], 0
    while position < len(data):
        stream, length = struct.unpack_from(">BxxxL", data, position)
        found.append((stream, data[position + 8 : position + 8 + length]))
        position += 8 + length
    return found


texts = st.text(max_size=40).map(lambda text: text.replace("\n", "") + "\n")
files_of_records = st.lists(st.lists(texts, max_size=30), min_size=1, max_size=4)


@given(files=files_of_records, tail=st.integers(min_value=-1, max_value=100), compressed=st.booleans())
@settings(deadline=None)
def test_tail_over_rotated_files(files: list[list[str]], tail: int, compressed: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/x.log"
        for age, lines in enumerate(reversed(files)):
            data = b"".join(map(record, lines))
            if age and compressed:
                Path(f"{path}.{age}.gz").write_bytes(gzip.compress(data))
            else:
                Path(f"{path}.{age}" if age else path).write_bytes(data)
        everything = [line for lines in files for line in lines]
        expected = everything if tail < 0 else everything[max(0, len(everything) - tail) :]
        log = LogFiles(path, tail=tail)
        assert read_all(log) == b"".join(map(record, expected))
        log.close()


def test_tail_reads_long_records_across_blocks(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    lines = [f"{number}{'x' * 20_000}\n" for number in range(40)]
    path.write_bytes(b"".join(map(record, lines)))
    for tail in (1, 5, 39, 40, 41):
        with closing(LogFiles(str(path), tail=tail)) as log:
            assert read_all(log) == b"".join(map(record, lines[-tail:]))


def test_the_end_is_where_the_log_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(record("before\n"))
    log = LogFiles(str(path))
    with path.open("ab") as file:
        file.write(record("after\n"))
    with closing(log):
        assert read_all(log) == record("before\n")


def test_following_through_rotations(tmp_path: Path) -> None:
    path = str(tmp_path / "x.log")
    log = LogFiles(path, follow=True)
    assert log.read() == b"", "there is no file yet"

    def write(data: bytes) -> None:
        with open(path, "ab") as file:
            file.write(data)

    write(record("1\n") + record("2\n")[:9])
    assert read_all(log) == record("1\n")
    write(record("2\n")[9:])
    os.rename(path, path + ".1")
    write(record("3\n"))
    assert read_all(log) == record("2\n") + record("3\n")
    os.rename(path + ".1", path + ".3")
    os.rename(path, path + ".2")
    Path(path + ".1").write_bytes(record("4\n"))
    write(record("5\n"))
    assert read_all(log) == record("4\n") + record("5\n")
    log.close()


def test_following_a_log_of_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(record("1\n"))
    with closing(LogFiles(str(path), follow=True)) as log:
        assert read_all(log) == record("1\n")
        path.unlink()
        path.write_bytes(record("2\n"))
        assert read_all(log) == record("2\n")


def test_no_log_is_an_empty_log(tmp_path: Path) -> None:
    assert LogFiles(str(tmp_path / "none.log"), tail=5).read() == b""


def test_frames_are_records() -> None:
    block = record("out\n") + record("err\n", "stderr") + record("no newline")
    formatted = Formatter(LogsOptions(**BOTH), framed=True).format(block)
    assert frames(formatted) == [(1, b"out\n"), (2, b"err\n"), (1, b"no newline")]
    assert Formatter(LogsOptions(**BOTH), framed=False).format(block) == b"out\nerr\nno newline"


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text(min_size=1, max_size=40)), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_frames_read_back(lines: list[tuple[str, str]], stdout: bool, stderr: bool) -> None:
    wanted = {"stdout": stdout, "stderr": stderr}
    block = b"".join(record(text, stream) for stream, text in lines)
    selected = [(stream, text.encode()) for stream, text in lines if wanted[stream]]
    framed = Formatter(LogsOptions(**wanted), framed=True).format(block)
    assert frames(framed) == [(1 + (stream == "stderr"), data) for stream, data in selected]
    assert Formatter(LogsOptions(**wanted), framed=False).format(block) == b"".join(data for _, data in selected)


def test_one_stream() -> None:
    block = record("out\n") + record("err\n", "stderr")
    assert Formatter(LogsOptions(stderr=True), framed=False).format(block) == b"err\n"


@given(
    times=st.lists(st.integers(min_value=0, max_value=3 * 10**9), max_size=20).map(sorted),
    since=st.integers(min_value=0, max_value=3 * 10**9),
    until=st.integers(min_value=0, max_value=3 * 10**9),
)
def test_since_and_until(times: list[int], since: int, until: int) -> None:
    block = b"".join(record(f"{moment}\n", time_ns=BASE_NS + moment) for moment in times)
    formatter = Formatter(LogsOptions(**BOTH, since=BASE_NS + since, until=BASE_NS + until), framed=False)
    expected = [moment for moment in times if since <= moment <= until]
    assert formatter.format(block) == b"".join(f"{moment}\n".encode() for moment in expected)
    assert formatter.finished == any(moment > until for moment in times)


def test_prefixes_are_dockerds() -> None:
    block = record("hi\n", time_ns=BASE_NS + 5 * 10**8, attrs={"foo": "b z&", "BAR": "1=2"}) + record("bare\n")
    formatter = Formatter(LogsOptions(**BOTH, timestamps=True, details=True), framed=False)
    assert formatter.format(block) == (
        b"2023-11-14T22:13:20.500000000Z BAR=1%3D2,foo=b+z%26 hi\n2023-11-14T22:13:20.000000000Z  bare\n"
    )


def test_a_damaged_record_is_left_out() -> None:
    block = record("1\n") + b'{"log":"2\n' + b"\0\0\0\n" + b'{"log":"\xff"}\n' + record("3\n")
    assert Formatter(LogsOptions(**BOTH), framed=False).format(block) == b"1\n3\n"


@pytest.mark.parametrize(
    ("text", "lines"), [("all", -1), ("", -1), ("-5", -1), ("x", -1), ("0", 0), ("12", 12), ("٣", -1)]
)
def test_tail_values(text: str, lines: int) -> None:
    assert LogsOptions(tail=text).last_lines == lines


def test_it_is_fast(tmp_path: Path) -> None:
    """Three times dockerd's 92,000 lines a second, with room for a busy machine."""
    count = 200_000
    path = tmp_path / "x.log"
    path.write_bytes(
        b"".join(record(f"line {number} of a log with some text in it\n") for number in range(1000)) * (count // 1000)
    )
    log, formatter = LogFiles(str(path)), Formatter(LogsOptions(**BOTH), framed=True)
    begin = time.process_time()
    while block := log.read():
        formatter.format(block)
    log.close()
    assert count / (time.process_time() - begin) > 300_000
