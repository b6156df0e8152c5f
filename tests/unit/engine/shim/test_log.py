from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lightship.engine.shim.log import MAX_RECORD_BYTES, JsonFile, escape, split_records, timestamp

RECORD = re.compile(
    rb'\{"log":"((?:[^"\\]|\\.)*)","stream":"(stdout|stderr)","time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"\}\n'
)


def records(path):
    text = path.read_bytes()
    assert all(RECORD.fullmatch(line) for line in text.splitlines(keepends=True))
    return [json.loads(line) for line in text.splitlines()]


def test_dockerd_writes_it_so(tmp_path):
    """Taken from a log that dockerd 28.5.2 wrote."""
    log = JsonFile(str(tmp_path / "log"))
    log.write("stdout", b'\x01\t<a>&\\"x\r\n\xff\xfe\n\xe2\x80\xa8\n\xc3\xa9\n\n\x7fx')
    log.close()
    texts = [line.partition(b',"stream"')[0] for line in (tmp_path / "log").read_bytes().splitlines()]
    assert texts == [
        rb'{"log":"\u0001\u0009\u003ca\u003e\u0026\\\"x\r\n"',
        rb'{"log":"\ufffd\ufffd\n"',
        rb'{"log":"\u2028\n"',
        rb'{"log":"' + "é".encode() + rb'\n"',
        rb'{"log":"\n"',
        b'{"log":"\x7fx"',
    ]


def test_long_lines_are_cut_as_dockerd_cuts_them(tmp_path):
    log = JsonFile(str(tmp_path / "log"))
    for size in (MAX_RECORD_BYTES - 1, MAX_RECORD_BYTES, MAX_RECORD_BYTES + 1, 40_000):
        log.write("stdout", b"a" * size)
        log.write("stdout", b"\nnext\n")
    log.close()
    lengths = [len(record["log"]) for record in records(tmp_path / "log") if record["log"] != "next\n"]
    assert lengths == [16384, 16384, 1, 16384, 2, 16384, 16384, 7233]


def test_the_parts_of_a_line_have_one_time(tmp_path, monkeypatch):
    log = JsonFile(str(tmp_path / "log"))
    clock = iter(range(1, 100))
    monkeypatch.setattr("time.time_ns", lambda: next(clock) * 10**9)
    log.write("stdout", b"a" * 20_000)
    log.write("stdout", b"\nnext\n")
    log.close()
    assert [record["time"][-3:-1] for record in records(tmp_path / "log")] == ["01", "01", "02"]


@pytest.mark.parametrize(
    ("time_ns", "expected"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_704_067_200_123_456_780, "2024-01-01T00:00:00.12345678Z"),
        (1_704_067_200_000_000_001, "2024-01-01T00:00:00.000000001Z"),
    ],
)
def test_times_are_gos(time_ns, expected):
    assert timestamp(time_ns) == expected


@given(st.binary())
@example(b"\xed\xa0\x80\xe2\x80x\xf4\x90\x80\x80\xc0\xaf\xef\xbf\xbd")
def test_escaped_text_reads_back(data):
    text = json.loads(b'"%s"' % escape(data).replace(b"\n", b"\\n"))
    expected = re.sub("[\udc80-\udcff]", "\ufffd", data.decode("utf-8", "surrogateescape"))
    assert text == expected


@given(st.lists(st.one_of(st.text(alphabet="ab\n").map(str.encode), st.integers(1, 40_000).map(lambda n: b"x" * n))))
def test_the_cuts_do_not_depend_on_the_chunks(chunks):
    def run(pieces):
        found, rest = [], b""
        for piece in pieces:
            runs, rest = split_records(rest + piece)
            for run in runs:
                found += run.splitlines(keepends=True)
        return found, rest

    whole = b"".join(chunks)
    assert run(chunks) == run([whole])
    found, rest = run(chunks)
    assert b"".join(found) + rest == whole
    assert all(len(record) <= MAX_RECORD_BYTES for record in found)
    assert len(rest) < MAX_RECORD_BYTES


@given(st.text(alphabet="aé€😀", min_size=5000, max_size=9000))
def test_cuts_are_between_characters(text):
    runs, rest = split_records(text.encode())
    assert "".join(piece.decode() for piece in (*runs, rest)) == text


def test_streams_do_not_mix(tmp_path):
    log = JsonFile(str(tmp_path / "log"), attrs={"tag": "t", "label": "<&>\u2028"})
    log.write("stdout", b"out ")
    assert log.rest("stdout") == b"out "
    log.write("stderr", b"err\n")
    position = log.position()
    log.write("stdout", b"goes on\nlast")
    log.finish("stdout")
    log.close()
    lines = (tmp_path / "log").read_bytes()
    assert [json.loads(line)["log"] for line in lines.splitlines()] == ["err\n", "out goes on\n", "last"]
    assert json.loads(lines[: position["offset"]])["log"] == "err\n"
    assert b'"stream":"stderr","attrs":{"label":"\\u003c\\u0026\\u003e\\u2028","tag":"t"},"time"' in lines


def read_any(path):
    return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("chunk", [1, 10, 500])
def test_rotation(tmp_path, compress, chunk):
    log = JsonFile(str(tmp_path / "log"), max_size=1000, max_file=3, compress=compress)
    lines = [b"%d\n" % number for number in range(500)]
    for start in range(0, len(lines), chunk):
        log.write("stdout", b"".join(lines[start : start + chunk]))
    log.close()
    suffix = ".gz" if compress else ""
    names = [f"log.2{suffix}", f"log.1{suffix}", "log"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    kept = [read_any(tmp_path / name) for name in names]
    numbers = [int(json.loads(line)["log"]) for text in kept for line in text.splitlines()]
    assert numbers == list(range(numbers[0], 500))
    for text in kept[:2]:
        last = len(text.splitlines()[-1]) + 1
        assert len(text) >= 1000 > len(text) - last, "a file is full with the first record that reaches the limit"


def test_rotation_without_older_files(tmp_path):
    log = JsonFile(str(tmp_path / "log"), max_size=100)
    log.write("stdout", b"".join(b"%d\n" % number for number in range(50)))
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert records(tmp_path / "log")[-1]["log"] == "49\n"


def test_it_goes_on_where_it_was(tmp_path):
    for text in (b"one\n", b"two\n"):
        log = JsonFile(str(tmp_path / "log"))
        log.write("stdout", text)
        log.close()
    assert [record["log"] for record in records(tmp_path / "log")] == ["one\n", "two\n"]
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o640 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_loses_records_and_no_more(tmp_path):
    log = JsonFile(str(tmp_path / "log"))
    log.write("stdout", b"before\n")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, old[1]))
        log.write("stdout", b"x" * 1000 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    log.write("stdout", b"after\n")
    log.close()
    assert [record["log"] for record in records(tmp_path / "log")] == ["before\n", "after\n"]
