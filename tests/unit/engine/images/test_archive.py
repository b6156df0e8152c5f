"""Archives of images, of whatever is in their documents: images, or InvalidArgument."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.archive import Archive, read_images, receive
from lightship.engine.images.config import Platform
from lightship.engine.images.content import ContentStore, digest_of

CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}'
MANIFEST = json.dumps(
    {"schemaVersion": 2, "config": {"mediaType": "c", "digest": digest_of(CONFIG), "size": len(CONFIG)}, "layers": []}
).encode()
OCI = "application/vnd.oci.image"
TYPES = st.sampled_from([f"{OCI}.manifest.v1+json", f"{OCI}.index.v1+json", "other", ""])
DIGESTS = st.sampled_from([digest_of(CONFIG), digest_of(MANIFEST), f"sha256:{'0' * 64}", "sha256:..", "", "x:y"])
NAMES = st.sampled_from(["a:1", "docker.io/library/a:1", "A", "", "1", "a@sha256:0"])
PLATFORMS = st.fixed_dictionaries({"os": st.sampled_from(["linux", "windows", "unknown"]), "architecture": st.text()})
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
DESCRIPTORS = st.fixed_dictionaries(
    {"mediaType": TYPES, "digest": DIGESTS, "size": st.integers(-1, 500)},
    optional={
        "platform": PLATFORMS,
        "annotations": st.dictionaries(
            st.sampled_from(
                [
                    "io.containerd.image.name",
                    "org.opencontainers.image.ref.name",
                    "vnd.docker.reference.type",
                    "vnd.docker.reference.digest",
                ]
            ),
            NAMES | DIGESTS | st.just("attestation-manifest"),
        ),
    },
)
INDEXES = st.fixed_dictionaries({"schemaVersion": st.just(2), "manifests": st.lists(DESCRIPTORS, max_size=4)}) | JSON
PATHS = st.sampled_from([f"blobs/sha256/{digest_of(CONFIG)[7:]}", "x", "../x", "/etc/passwd", "index.json", ""])
ITEMS = (
    st.lists(
        st.fixed_dictionaries(
            {"Config": PATHS},
            optional={"RepoTags": st.lists(NAMES, max_size=2) | st.none(), "Layers": st.lists(PATHS, max_size=2)},
        ),
        max_size=3,
    )
    | JSON
)


def archive(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    index=INDEXES | st.none(),
    inner=INDEXES,
    items=ITEMS | st.none(),
    platforms=st.sampled_from([[], [Platform("linux", "amd64")], [Platform("linux", "arm64")]]),
)
def test_any_documents_are_read_or_refused(
    tmp_path: Path, index: Any, inner: Any, items: Any, platforms: list[Platform]
) -> None:
    members = {f"blobs/sha256/{digest_of(blob)[7:]}": blob for blob in (CONFIG, MANIFEST, json.dumps(inner).encode())}
    if isinstance(index, dict) and isinstance(index.get("manifests"), list):
        nested = json.dumps(inner).encode()
        descriptor = {"mediaType": f"{OCI}.index.v1+json", "digest": digest_of(nested), "size": len(nested)}
        index["manifests"].append(descriptor)
    for name, document in (("index.json", index), ("manifest.json", items)):
        if document is not None:
            members[name] = json.dumps(document).encode()
    found = Archive()
    content = ContentStore(tmp_path)
    try:
        receive(io.BytesIO(archive(members)).read, content, found, lambda file: None)
        for image in read_images(found, platforms):
            assert digest_of(image.config) == image.config_file.digest
    except InvalidArgument:
        pass
    finally:
        found.discard()
    assert not any((tmp_path / "ingest").iterdir())
