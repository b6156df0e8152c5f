"""Writing archives: what goes in comes out of Python's and of our own reader, and marks of layers are Docker's."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from lightship.engine.snapshots.pack import Packer
from lightship.engine.snapshots.tar import TarReader
from lightship.engine.snapshots.tarwriter import Output, TarWriter


def packed(
    tree: Path, *, prefix: bytes = b"", with_root: bool = False, is_layer: bool = False, compression: str = ""
) -> bytes:
    output = tree.parent / "archive"
    fd = os.open(output, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    directory_fd = os.open(tree, os.O_RDONLY)
    try:
        writer = TarWriter(Output(fd, compression=compression))
        Packer(writer, is_layer=is_layer).add_tree(directory_fd, prefix, with_root=with_root)
        writer.close()
        return output.read_bytes()
    finally:
        os.close(fd)
        os.close(directory_fd)


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: member for member in tar}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def test_files_links_and_modes(tree: Path) -> None:
    (tree / "b").mkdir(mode=0o700)
    (tree / "b" / "file").write_bytes(b"x" * 1000)
    (tree / "b" / "file").chmod(0o4755)
    os.link(tree / "b" / "file", tree / "b" / "same")
    (tree / "a").symlink_to("b/file")
    os.mkfifo(tree / "pipe")
    found = members(packed(tree))
    assert list(found) == ["a", "b", "b/file", "b/same", "pipe"]
    assert found["a"].linkname == "b/file" and found["b/same"].linkname == "b/file" and found["b/same"].islnk()
    assert found["b/file"].size == 1000 and stat.S_IMODE(found["b/file"].mode) == 0o4755 and found["pipe"].isfifo()


@pytest.mark.parametrize(("prefix", "names"), [(b"d", ["d", "d/f"]), (b".", [".", "./f"]), (b"/", ["", "f"])])
def test_prefixes(tree: Path, prefix: bytes, names: list[str]) -> None:
    (tree / "f").touch()
    assert [name.strip("/") for name in members(packed(tree, prefix=prefix, with_root=True))] == names


@pytest.mark.parametrize("length", [90, 99, 100, 101, 155, 200, 255])
def test_long_names(tree: Path, length: int) -> None:
    inner = tree / ("d" * length)
    inner.mkdir()
    (inner / ("f" * length)).write_text("x")
    (inner / "l").symlink_to("t" * length)
    found = members(packed(tree))
    name = "d" * length
    assert found[f"{name}/{'f' * length}"].size == 1 and found[f"{name}/l"].linkname == "t" * length


@pytest.mark.parametrize("name", ["é", "日本語" * 20, "sp ace", "new\nline"])
def test_names_beyond_ascii(tree: Path, name: str) -> None:
    (tree / name).write_text("x")
    assert list(members(packed(tree))) == [name]


def test_names_that_are_no_text(tree: Path) -> None:
    (tree / os.fsdecode(b"\xff\xfe")).write_text("x")
    data = io.BytesIO(packed(tree))
    entry = TarReader(data.read).next()
    assert entry is not None and entry.name == b"\xff\xfe"


def test_numbers_beyond_octal(tmp_path: Path) -> None:
    """Ids of user namespaces, files of the far future and of before 1970."""
    output = tmp_path / "archive"
    fd = os.open(output, os.O_RDWR | os.O_CREAT)
    writer = TarWriter(Output(fd))
    for name, mtime in ((b"late", 1 << 34), (b"early", -5)):
        status = os.stat_result((stat.S_IFREG | 0o644, 1, 1, 1, 1 << 30, 3_000_000, 0, mtime, mtime, mtime))
        writer.add(name, status, kind=b"0")
    writer.close()
    os.close(fd)
    found = members(output.read_bytes())
    assert (found["late"].uid, found["late"].gid, found["late"].mtime) == (1 << 30, 3_000_000, 1 << 34)
    assert found["early"].mtime == -5


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1 << 17, (1 << 17) + 1, 3 << 20])
@pytest.mark.parametrize("compression", ["", "gzip"])
def test_data(tree: Path, size: int, compression: str) -> None:
    content = os.urandom(size)
    (tree / "f").write_bytes(content)
    with tarfile.open(fileobj=io.BytesIO(packed(tree, compression=compression))) as tar:
        member = tar.extractfile("f")
        assert member is not None and member.read() == content


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path, size: int) -> None:
    """The header has promised a size, and what follows it must stay readable."""
    (tmp_path / "f").write_bytes(b"x" * size)
    status = (tmp_path / "f").stat()
    (tmp_path / "f").write_bytes(b"y")
    fd, source = os.open(tmp_path / "archive", os.O_RDWR | os.O_CREAT), os.open(tmp_path / "f", os.O_RDONLY)
    writer = TarWriter(Output(fd))
    writer.add(b"f", status, kind=b"0", source_fd=source)
    writer.add(b"after", status, kind=b"5")
    writer.close()
    os.close(fd)
    os.close(source)
    with tarfile.open(tmp_path / "archive") as tar:
        member = tar.extractfile("f")
        assert member is not None and member.read() == b"y" + bytes(size - 1)
        assert tar.getnames() == ["f", "after"]


def test_own_attributes(tree: Path) -> None:
    (tree / "f").touch()
    try:
        os.setxattr(tree / "f", "user.mine", b"a\0b")
    except OSError:
        pytest.skip("the file system has no attributes")
    data = io.BytesIO(packed(tree))
    entry = TarReader(data.read).next()
    assert entry is not None and entry.xattrs == [("user.mine", b"a\0b")]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for overlayfs's marks")
def test_marks_of_layers(tree: Path) -> None:
    (tree / "d").mkdir()
    os.mknod(tree / "d" / "gone", stat.S_IFCHR, 0)
    (tree / "opaque").mkdir()
    os.setxattr(tree / "opaque", "trusted.overlay.opaque", b"y")
    found = members(packed(tree, is_layer=True))
    assert list(found) == ["d", "d/.wh.gone", "opaque", "opaque/.wh..wh..opq"]
    assert found["d/.wh.gone"].isreg() and found["d/.wh.gone"].size == 0
    assert members(packed(tree))["d/gone"].ischr(), "only in layers are they marks"


def test_digest(tmp_path: Path) -> None:
    """Of nothing: the digest that every engine knows for an empty layer."""
    fd = os.open(tmp_path / "archive", os.O_RDWR | os.O_CREAT)
    output = Output(fd, digested=True)
    TarWriter(output).close()
    os.close(fd)
    empty = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
    assert (output.digest, output.size) == (empty, 1024)
