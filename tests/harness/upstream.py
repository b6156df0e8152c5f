"""Putting images into a registry without an engine, by curl in the registry's network namespace."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
from typing import Any

from .images import Image, entry, layer
from .registry import Registry

OCI, DOCKER = "application/vnd.oci.image", "application/vnd.docker.distribution.manifest"


class Upstream:
    """Puts things into a registry without an engine."""

    def __init__(self, registry: Registry) -> None:
        self.host = registry.host
        self._registry = registry

    def blob(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        location = self._curl("-X", "POST", f"/v2/{repository}/blobs/uploads/", head="location")
        kind = "Content-Type: application/octet-stream"
        self._curl("-X", "PUT", "-H", kind, "--data-binary", "@-", f"{location}&digest={digest}", data=data)
        return digest

    def manifest(self, repository: str, tag: str, document: dict[str, Any]) -> str:
        data = json.dumps(document).encode()
        kind = f"Content-Type: {document['mediaType']}"
        self._curl("-X", "PUT", "-H", kind, "--data-binary", "@-", f"/v2/{repository}/manifests/{tag}", data=data)
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def image(
        self, repository: str, tag: str, image: Image, *, kind: str = "docker", packing: str = "gzip", **changes: Any
    ) -> dict[str, Any]:
        """Store an image; return its manifest's descriptor."""
        suffix = {"gzip": ".gzip" if kind == "docker" else "+gzip", "zstd": "+zstd", "": ""}[packing]
        config = json.dumps(json.loads(image.document()) | changes).encode()
        docker = kind == "docker"
        layers = [_packed(data, packing) for data in image.layers]
        plain = "application/vnd.docker.image.rootfs.diff.tar" if docker else f"{OCI}.layer.v1.tar"
        layer_type = f"{plain}{suffix}"
        config_type = "application/vnd.docker.container.image.v1+json" if docker else f"{OCI}.config.v1+json"
        document = {
            "schemaVersion": 2,
            "mediaType": f"{DOCKER}.v2+json" if docker else f"{OCI}.manifest.v1+json",
            "config": {"mediaType": config_type, "size": len(config), "digest": self.blob(repository, config)},
            "layers": [
                {"mediaType": layer_type, "size": len(data), "digest": self.blob(repository, data)} for data in layers
            ],
        }
        digest = self.manifest(repository, tag, document)
        return {"mediaType": document["mediaType"], "digest": digest, "size": len(json.dumps(document))}

    def fetched(self, repository: str, reference: str) -> bytes:
        accept = f"Accept: {DOCKER}.v2+json, {OCI}.manifest.v1+json, {DOCKER}.list.v2+json, {OCI}.index.v1+json"
        return self._curl("-H", accept, f"/v2/{repository}/manifests/{reference}").encode()

    def _curl(self, *args: str, data: bytes = b"", head: str = "") -> str:
        *options, path = args
        url = path if path.startswith("http") else f"http://{self.host}{path}"
        shown = ["-o", "/dev/null", "-w", f"%header{{{head}}}"] if head else []
        with self._registry.netns.entered():
            command = ["curl", "-sS", "--fail-with-body", *shown, *options, url]
            done = subprocess.run(command, input=data, capture_output=True)
        assert done.returncode == 0, done
        return done.stdout.decode()


def _packed(data: bytes, packing: str) -> bytes:
    if packing == "zstd":
        return subprocess.run(["zstd", "-q"], input=data, capture_output=True, check=True).stdout
    return gzip.compress(data, 1, mtime=0) if packing else data


def small(text: str, *, base: bytes | None = None) -> Image:
    own = layer(entry("text", text.encode()))
    return Image(["-"], [own] if base is None else [base, own])
