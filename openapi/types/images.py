"""Images, their history and what operations on them answer."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, UnsetType, field

from .config import HealthConfig
from .model import Model


class DriverData(Model):
    """Information about the storage driver used to store the container's and image's filesystem."""

    name: str = ""
    data: dict[str, str] | None = None


class RootFSSnapshot(Model):
    """The snapshotter and the snapshot that hold a container's root file system."""

    name: str = ""


class RootFSStorage(Model):
    """How a container's root file system is stored."""

    snapshot: RootFSSnapshot | UnsetType = UNSET


class Storage(Model):
    """Information about the storage used by the container."""

    root_fs: RootFSStorage | UnsetType = field(default=UNSET, name="RootFS")


class OCIPlatform(Model):
    """The platform an image runs on (OCI image index specification)."""

    architecture: str = field(default="", name="architecture")
    os: str = field(default="", name="os")
    os_version: str | UnsetType = field(default=UNSET, name="os.version")
    os_features: list[str] | UnsetType = field(default=UNSET, name="os.features")
    variant: str | UnsetType = field(default=UNSET, name="variant")


class OCIDescriptor(Model):
    """A descriptor of content by media type, digest and size (OCI descriptors)."""

    media_type: str = field(default="", name="mediaType")
    digest: str = field(default="", name="digest")
    size: int = field(default=0, name="size")
    urls: list[str] | UnsetType = field(default=UNSET, name="urls")
    annotations: dict[str, str] | UnsetType = field(default=UNSET, name="annotations")
    data: str | UnsetType = field(default=UNSET, name="data")
    platform: OCIPlatform | UnsetType = field(default=UNSET, name="platform")
    artifact_type: str | UnsetType = field(default=UNSET, name="artifactType")


class ImageConfig(Model):
    """Configuration of the image."""

    user: str | UnsetType = UNSET
    exposed_ports: dict[str, dict[str, Any]] | UnsetType = UNSET
    env: list[str] | UnsetType = UNSET
    cmd: list[str] | UnsetType = UNSET
    healthcheck: HealthConfig | UnsetType = UNSET
    args_escaped: bool | UnsetType = UNSET
    volumes: dict[str, dict[str, Any]] | UnsetType = UNSET
    working_dir: str | UnsetType = UNSET
    entrypoint: list[str] | UnsetType = UNSET
    on_build: list[str] | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    stop_signal: str | UnsetType = UNSET
    shell: list[str] | UnsetType = UNSET


class ImageMetadata(Model):
    """Additional metadata of the image in the local cache."""

    last_tag_time: str | UnsetType = UNSET


class RootFs(Model):
    """Information about the image's RootFS, including the layer IDs."""

    type: str | UnsetType = UNSET
    layers: list[str] | UnsetType = UNSET


class ManifestSize(Model):
    """ManifestSize"""

    total: int = 0
    content: int = 0


class AttestationData(Model):
    """The image data for the attestation manifest."""

    for_: str = field(default="", name="For")


class ManifestImageSize(Model):
    """ManifestImageSize"""

    unpacked: int = 0


class PullIdentity(Model):
    """A repository that the image was pulled from or pushed to."""

    repository: str | UnsetType = UNSET


class Identity(Model):
    """Where the image comes from."""

    pull: list[PullIdentity] | UnsetType = UNSET


class ManifestImageData(Model):
    """The image data for the image manifest."""

    platform: OCIPlatform = field(default_factory=OCIPlatform)
    identity: Identity | UnsetType = UNSET
    containers: list[str] | None = None
    size: ManifestImageSize = field(default_factory=ManifestImageSize)


class ImageManifestSummary(Model):
    """ImageManifestSummary represents a summary of an image manifest."""

    id: str = field(default="", name="ID")
    descriptor: OCIDescriptor = field(default_factory=OCIDescriptor)
    available: bool = False
    size: ManifestSize = field(default_factory=ManifestSize)
    kind: str = ""
    image_data: ManifestImageData | UnsetType = UNSET
    attestation_data: AttestationData | UnsetType = UNSET


class AttestationStatement(Model):
    """AttestationStatement is a single in-toto statement attached to an image."""

    descriptor: OCIDescriptor = field(default_factory=OCIDescriptor)
    predicate_type: str = ""
    statement: dict[str, Any] | UnsetType = UNSET


class ImageInspect(Model):
    """Information about an image in the local image cache."""

    id: str = ""
    descriptor: OCIDescriptor | UnsetType = UNSET
    manifests: list[ImageManifestSummary] | UnsetType = UNSET
    identity: Identity | UnsetType = UNSET
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    parent: str | UnsetType = UNSET
    docker_version: str | UnsetType = UNSET
    comment: str | UnsetType = UNSET
    created: str | UnsetType = UNSET
    author: str | UnsetType = UNSET
    config: ImageConfig | None = None
    architecture: str = ""
    variant: str | UnsetType = UNSET
    os: str = ""
    os_version: str | UnsetType = UNSET
    size: int = 0
    graph_driver: DriverData | UnsetType = UNSET
    root_fs: RootFs = field(default_factory=RootFs, name="RootFS")
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


class ImageHistoryResponseItem(Model):
    """individual image layer information in response to ImageHistory operation"""

    id: str = ""
    created: int = 0
    created_by: str = ""
    tags: list[str] | None = None
    size: int = 0
    comment: str = ""


class ImageSummary(Model):
    """ImageSummary"""

    id: str = ""
    parent_id: str = ""
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    created: int = 0
    size: int = 0
    shared_size: int = 0
    labels: dict[str, str] | None = None
    containers: int = 0
    manifests: list[ImageManifestSummary] | UnsetType = UNSET
    descriptor: OCIDescriptor | UnsetType = UNSET


class ImageDeleteResponseItem(Model):
    """ImageDeleteResponseItem"""

    untagged: str | UnsetType = UNSET
    deleted: str | UnsetType = UNSET
