"""An image's configuration and manifest: the JSON documents of the OCI and Docker image formats.

Only what the engine reads is decoded; the documents themselves stay in the content store byte for byte.
"""

from __future__ import annotations

import hashlib
import platform as host
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ..errors import InvalidArgument
from ..times import parse_time
from .references import check_digest

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_KNOWN_ARCHITECTURES = (
    "386", "amd64", "arm", "arm64", "loong64", "mips", "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv64",
    "s390x", "wasm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Platform:
    """Where an image runs. An empty variant stands for the architecture's usual one."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def of_host(cls) -> Platform:
        machine = host.machine()
        return cls("linux", _ARCHITECTURES.get(machine, machine))

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os`, `architecture` or `os/architecture[/variant]`. Raises InvalidArgument."""
        parts = text.split("/")
        if len(parts) > 3:
            raise InvalidArgument(f'"{text}": cannot parse platform specifier: invalid argument')
        if not all(part and part.replace("-", "").replace("_", "").isalnum() for part in parts):
            raise InvalidArgument(f'"{text}" is an invalid OS component of "{text}": invalid argument')
        if len(parts) > 1:
            return cls(parts[0], _ARCHITECTURES.get(parts[1], parts[1]), *parts[2:])
        here = cls.of_host()
        if text in ("linux", "windows", "darwin", "freebsd"):
            return cls(text, here.architecture)
        if text not in _ARCHITECTURES and text not in _KNOWN_ARCHITECTURES:
            raise InvalidArgument(f'"{text}": unknown operating system or architecture: invalid argument')
        return cls(here.os, _ARCHITECTURES.get(text, text))

    def matches(self, wanted: Platform) -> bool:
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return False
        return self._usual_variant() == wanted._usual_variant() or not (self.variant and wanted.variant)

    def rank(self, image: Platform) -> int | None:
        """Return how well an image for the platform `image` fits here, None where it does not run."""
        if (image.os, image.architecture) != (self.os, self.architecture):
            return None
        has, here = image._level(), self._level()
        return None if has > here else has

    def _level(self) -> int:
        """Return the variant as a number: CPUs run what was made for lower ones of their architecture."""
        variant = self.variant or {"arm": "v7", "arm64": "v8", "amd64": "v1"}.get(self.architecture, "")
        digits = variant.removeprefix("v").partition(".")[0]
        return int(digits) if digits.isdecimal() else 0

    def __str__(self) -> str:
        parts = [self.os, self.architecture, self._usual_variant()]
        return "/".join(part for part in parts if part)

    def _usual_variant(self) -> str:
        return "" if (self.architecture, self.variant) == ("arm64", "v8") else self.variant


class Health(msgspec.Struct, rename="pascal", omit_defaults=True):
    """A health check; times in nanoseconds, 0 where the default holds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class RunConfig(msgspec.Struct, rename="pascal", omit_defaults=True):
    """What containers take from the image unless they say otherwise."""

    user: str | None = None
    exposed_ports: dict[str, dict[str, str]] | None = None
    env: list[str] | None = None
    entrypoint: list[str] | str | None = None
    cmd: list[str] | str | None = None
    volumes: dict[str, dict[str, str]] | None = None
    working_dir: str | None = None
    labels: dict[str, str] | None = None
    stop_signal: str | None = None
    args_escaped: bool | None = None
    healthcheck: Health | None = None
    on_build: list[str] | None = None
    shell: list[str] | None = None

    def __post_init__(self) -> None:
        # Docker takes a single string for a list of one here.
        if isinstance(self.cmd, str):
            self.cmd = [self.cmd]
        if isinstance(self.entrypoint, str):
            self.entrypoint = [self.entrypoint]


class RootFS(msgspec.Struct):
    type: str = "layers"
    diff_ids: list[str] | None = None


class History(msgspec.Struct, omit_defaults=True):
    created: str | None = None
    author: str | None = None
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class ImageConfig(msgspec.Struct, omit_defaults=True):
    """The document whose digest is the image's id."""

    architecture: str | None = None
    author: str | None = None
    comment: str | None = None
    config: RunConfig | None = None
    container: str | None = None
    container_config: RunConfig | None = None
    created: str | None = None
    docker_version: str | None = None
    history: list[History] | None = None
    os: str | None = None
    os_version: str | None = msgspec.field(default=None, name="os.version")
    rootfs: RootFS | None = None
    variant: str | None = None
    inline_cache: str | None = msgspec.field(default=None, name="moby.buildkit.cache.v0")
    """What a builder made the image's layers from, for another one to use them: JSON in base64."""

    @property
    def diff_ids(self) -> list[str]:
        return (self.rootfs and self.rootfs.diff_ids) or []

    @property
    def labels(self) -> dict[str, str]:
        return (self.config and self.config.labels) or {}

    @property
    def platform(self) -> Platform:
        return Platform(self.os or "linux", self.architecture or "", self.variant or "")

    @property
    def created_ns(self) -> int | None:
        return None if self.created is None else parse_time(self.created)


class DescribedPlatform(msgspec.Struct, frozen=True, omit_defaults=True):
    os: str = ""
    architecture: str = ""
    variant: str = ""


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A reference to a blob."""

    media_type: str
    size: int
    digest: str
    annotations: dict[str, str] | None = None
    platform: DescribedPlatform | None = None


class Manifest(msgspec.Struct, omit_defaults=False, rename="camel"):
    """One image's config and layers."""

    schema_version: int = 2
    media_type: str = MANIFEST
    config: Descriptor = Descriptor(CONFIG, 0, "")
    layers: list[Descriptor] = []


class Index(msgspec.Struct, rename="camel"):
    """Several manifests: images, or one image's platforms."""

    schema_version: int = 2
    media_type: str = INDEX
    manifests: list[Descriptor] | None = None


_config_decoder = msgspec.json.Decoder(ImageConfig)


def decode_config(data: bytes) -> ImageConfig:
    """Read and check a config. Raises InvalidArgument with dockerd's text where it has one."""
    try:
        config = _config_decoder.decode(data)
    except msgspec.DecodeError as error:
        raise InvalidArgument(f"invalid image JSON: {error}") from error
    if config.rootfs is None:
        raise InvalidArgument("invalid image JSON, no RootFS key")
    if config.created is not None:
        parse_time(config.created)
    for diff_id in config.diff_ids:
        check_digest(diff_id)
    if config.os not in (None, "", "linux"):
        raise InvalidArgument(f"cannot load {config.os} image on linux")
    return config


def check_history(config: ImageConfig) -> None:
    """Raise InvalidArgument where the history tells of more layers than there are."""
    layers = sum(1 for entry in config.history or [] if not entry.empty_layer)
    if layers > len(config.diff_ids):
        raise InvalidArgument("too many non-empty layers in History section")


def check_os(platform: Platform) -> None:
    if platform.os != "linux":
        raise InvalidArgument("operating system is not supported")


def chain_ids(diff_ids: Sequence[str]) -> Iterator[str]:
    """Return the chain id of each layer: what identifies it together with all below it."""
    chain = ""
    for diff_id in diff_ids:
        chain = diff_id if not chain else f"sha256:{hashlib.sha256(f'{chain} {diff_id}'.encode()).hexdigest()}"
        yield chain


def layer_media_type(compression: str) -> str:
    """Return the media type of a layer by the name of its compression."""
    return f"{LAYER}+{compression}" if compression else LAYER
