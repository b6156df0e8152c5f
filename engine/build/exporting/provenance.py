"""Provenance of mode=min: what a build was made from, as an in-toto statement beside each image in the index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from ... import errors
from ...images.config import CONFIG, MANIFEST, DescribedPlatform, Descriptor
from ...images.content import digest_of
from ...images.references import Reference, parse
from ...times import rfc3339
from ..frontend import Request
from ..graph import GitSource, HttpSource, ImageSource, Step, ancestry

if TYPE_CHECKING:
    from ..solver import Solver
    from .manifests import Blobs, Exported

_STATEMENT = "application/vnd.in-toto+json"
_PREDICATE = "https://slsa.dev/provenance/v0.2"
_BUILD_TYPE = "https://mobyproject.org/buildkit@v1"
_UNKNOWN = DescribedPlatform("unknown", "unknown")


def is_wanted(request: Request) -> bool:
    """Read the option `attest:provenance`. Raises NotImplemented for what is not made."""
    if "attest:sbom" in request.options:
        raise errors.NotImplemented("SBOM attestations are not supported")
    text = request.options.get("attest:provenance")
    if text is None:
        return False
    settings = dict(part.partition("=")[::2] for part in text.split(",") if part)
    if settings.get("mode", "min") != "min":
        raise errors.NotImplemented("provenance is made with mode=min alone")
    return settings.get("disabled", "false") != "true" and text != "false"


def attested(
    solver: Solver, blobs: Blobs, exported: Exported, names: Sequence[Reference], request: Request
) -> Descriptor:
    """Return the index's entry of one image's provenance."""
    statement = msgspec.json.encode(_statement(solver, exported, names, request))
    annotations = {"in-toto.io/predicate-type": _PREDICATE}
    layer = blobs.add(statement, _STATEMENT, annotations=annotations)
    rootfs = {"type": "layers", "diff_ids": [digest_of(statement)]}
    config = blobs.add(
        msgspec.json.encode({"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": rootfs}), CONFIG
    )
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}
    return blobs.add(
        msgspec.json.encode(manifest),
        MANIFEST,
        platform=_UNKNOWN,
        annotations={
            "vnd.docker.reference.digest": exported.descriptor.digest,
            "vnd.docker.reference.type": "attestation-manifest",
        },
    )


def _statement(solver: Solver, exported: Exported, names: Sequence[Reference], request: Request) -> dict[str, Any]:
    platform = str(exported.built.platform)
    digest = {"sha256": exported.descriptor.digest.removeprefix("sha256:")}
    locals_ = [{"name": "context"}, {"name": "dockerfile"}]
    return {
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": _PREDICATE,
        "subject": [{"name": _purl(name, platform), "digest": digest} for name in names],
        "predicate": {
            "builder": {"id": ""},
            "buildType": _BUILD_TYPE,
            "materials": _materials(solver, exported.built.step),
            "invocation": {
                "configSource": {"entryPoint": request.options.get("filename", "Dockerfile")},
                "parameters": {"frontend": "dockerfile.v0", "locals": locals_},
                "environment": {"platform": platform},
            },
            "metadata": {
                "buildStartedOn": rfc3339(solver.started_ns),
                "completeness": {"parameters": True, "environment": True, "materials": False},
                "reproducible": False,
                f"{_BUILD_TYPE}#metadata": {},
            },
        },
    }


def _materials(solver: Solver, step: Step | None) -> list[dict[str, Any]]:
    """Return what came from elsewhere, but for the client's files."""
    found: list[dict[str, Any]] = []
    for each in ancestry(step):
        if isinstance(each, ImageSource):
            resolved = solver.resolved.get((each.digest_ref, each.platform))
            if resolved is not None:
                reference = parse(each.digest_ref)
                digest = reference.digest or digest_of(resolved.config_bytes)
                found.append(_material(_purl(reference, str(each.platform)), digest))
        elif isinstance(each, HttpSource) and each.checksum:
            found.append(_material(each.url, each.checksum))
        elif isinstance(each, GitSource) and each.checksum:
            found.append({"uri": each.url, "digest": {"sha1": each.checksum}})
    return found


def _material(uri: str, digest: str) -> dict[str, Any]:
    return {"uri": uri, "digest": {"sha256": digest.removeprefix("sha256:")}}


def _purl(reference: Reference, platform: str) -> str:
    return f"pkg:docker/{reference.familiar_name}@{reference.tag or 'latest'}?platform={quote(platform, safe='')}"
