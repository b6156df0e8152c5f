"""The content store keeps what it was given, under the digest that it has."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from lightship.engine.errors import InvalidArgument, NotFound
from lightship.engine.images.content import ContentStore, digest_of

DATA = b"some content"
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


def test_a_blob_is_found_by_its_digest(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    ingest = content.ingest()
    ingest.write(DATA[:4])
    ingest.write(DATA[4:])
    assert content.commit(ingest, digest=DIGEST, size=len(DATA)) == DIGEST
    assert (content.read(DIGEST), content.size(DIGEST), list(content.digests())) == (DATA, len(DATA), [DIGEST])
    assert (tmp_path / "blobs/sha256" / DIGEST[7:]).read_bytes() == DATA
    content.delete(DIGEST)
    with pytest.raises(NotFound):
        content.read(DIGEST)


@pytest.mark.parametrize(("digest", "size"), [(digest_of(b"other"), None), (DIGEST, 5)])
def test_a_lie_is_refused_and_leaves_nothing(tmp_path: Path, digest: str, size: int | None) -> None:
    content = ContentStore(tmp_path)
    ingest = content.ingest()
    ingest.write(DATA)
    with pytest.raises(InvalidArgument, match="unexpected"):
        content.commit(ingest, digest=digest, size=size)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_damage_is_noticed(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    digest = content.add(DATA)
    content.path(digest).write_bytes(b"damaged")
    with pytest.raises(InvalidArgument, match="does not have this digest"):
        content.read(digest)


def test_digests_do_not_lead_out_of_the_store(tmp_path: Path) -> None:
    content = ContentStore(tmp_path)
    for digest in ("sha256:../../../etc/passwd", "sha256:", "x", "sha512:" + "a" * 128):
        with pytest.raises(InvalidArgument):
            content.read(digest)


def test_what_was_not_finished_goes_at_the_next_start(tmp_path: Path) -> None:
    unfinished = ContentStore(tmp_path).ingest()
    unfinished.write(DATA)
    unfinished.close()
    content = ContentStore(tmp_path)
    content.reconcile()
    assert list((tmp_path / "ingest").iterdir()) == []
