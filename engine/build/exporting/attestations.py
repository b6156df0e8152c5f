"""An attestation as the index has it: a manifest beside the image's, whose layer is an in-toto statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ...images.config import CONFIG, MANIFEST, DescribedPlatform, Descriptor
from ...images.content import digest_of

if TYPE_CHECKING:
    from .manifests import Blobs

STATEMENT = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v0.1"
_ARTIFACT = "application/vnd.docker.attestation.manifest.v1+json"
_EMPTY, _EMPTY_TYPE = b"{}", "application/vnd.oci.empty.v1+json"
_UNKNOWN = DescribedPlatform("unknown", "unknown")


def statement(subjects: list[dict[str, Any]], predicate_type: str, predicate: dict[str, Any]) -> bytes:
    """Return what is said of subjects, each with `name` and `digest`."""
    said = {"_type": _STATEMENT_TYPE, "predicateType": predicate_type, "subject": subjects, "predicate": predicate}
    return msgspec.json.encode(said)


def attested(blobs: Blobs, subject: Descriptor, said: bytes, predicate_type: str, *, is_artifact: bool) -> Descriptor:
    """Return the index's entry for a statement about a manifest; OCI has a form of its own for such artifacts."""
    layer = blobs.add(said, STATEMENT, annotations={"in-toto.io/predicate-type": predicate_type})
    manifest: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST}
    if is_artifact:
        manifest["artifactType"] = _ARTIFACT
        manifest["config"] = blobs.add(_EMPTY, _EMPTY_TYPE)
        manifest["subject"] = Descriptor(subject.media_type, subject.size, subject.digest)
    else:
        rootfs = {"type": "layers", "diff_ids": [digest_of(said)]}
        config = {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs}
        manifest["config"] = blobs.add(msgspec.json.encode(config), CONFIG)
    manifest["layers"] = [layer]
    return blobs.add(
        msgspec.json.encode(manifest),
        MANIFEST,
        platform=_UNKNOWN,
        annotations={
            "vnd.docker.reference.digest": subject.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    )
