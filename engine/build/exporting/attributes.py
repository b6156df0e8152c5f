"""What exporters and caches may be asked, by BuildKit's names: read and checked before anything is built.

BuildKit takes an attribute that it does not know for metadata, and says nothing; here it is an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ... import errors
from ...images.config import Platform
from ..request import CacheLocation, Exporter

_ANNOTATION = re.compile(r"annotation(?:-([a-z-]+))?(?:\[([A-Za-z0-9_/-]+)\])?\.(\S+)")
_KINDS = ("manifest", "manifest-descriptor", "index", "index-descriptor")
_OCI_ONLY_KINDS = _KINDS[1:]

# Clients' own are `dest`, `context` and `load`; old ones ask for `buildinfo`, which no builder makes any more.
_CLIENT = {"dest", "context", "load", "source-date-epoch", "buildinfo", "buildinfo-attrs"}
_COMPRESSION = {"compression", "compression-level", "force-compression"}
_DOCUMENTS = {
    *_CLIENT, *_COMPRESSION, "name", "oci-mediatypes", "oci-artifact", "attestation-inline", "prefer-nondist-layers",
    "rewrite-timestamp",
}  # fmt: skip
_IMAGE = {
    *_DOCUMENTS, "push", "push-by-digest", "registry.insecure", "unpack", "store", "dangling-name-prefix",
    "danging-name-empty-only", "name-canonical",
}  # fmt: skip
_FILES = {*_CLIENT, "platform-split", "attestation-prefix"}
_KNOWN = {
    "image": _IMAGE,
    "moby": _IMAGE,
    "docker": {*_DOCUMENTS, "tar"},
    "oci": {*_DOCUMENTS, "tar"},
    "local": _FILES,
    "tar": _FILES,
}
_CACHE = {*_COMPRESSION, "mode", "oci-mediatypes", "image-manifest", "ignore-error"}
_KNOWN_CACHES = {
    "inline": {"mode", "ignore-error"},
    "local": {*_CACHE, "dest", "digest", "tag"},
    "registry": {*_CACHE, "ref", "registry.insecure"},
}
_LEVELS = {"gzip": range(-1, 10)}
_COMPRESSIONS = {"uncompressed": "", "gzip": "gzip", "zstd": "zstd"}


@dataclass(frozen=True)
class Compression:
    """How layers are compressed: `type` is empty, gzip or zstd, `level` None for the usual one.

    Layers that are compressed another way are left so unless it `is_forced`.
    """

    type: str = "gzip"
    level: int | None = None
    is_forced: bool = False

    @classmethod
    def of(cls, exporter: Exporter) -> Compression:
        """Read it. Raises InvalidArgument in BuildKit's words."""
        name = exporter.attributes.get("compression", "gzip")
        if name == "estargz":
            raise errors.NotImplemented(f"unsupported compression type {name}")
        if name not in _COMPRESSIONS:
            raise errors.InvalidArgument(f"unsupported compression type {name}")
        text = exporter.attributes.get("compression-level")
        try:
            level = None if text is None else int(text)
        except ValueError:
            raise errors.InvalidArgument(
                f"non-integer value {text} specified for compression-level: "
                f'strconv.ParseInt: parsing "{text}": invalid syntax'
            ) from None
        if level is not None and level not in _LEVELS.get(name, (level,)):
            raise errors.InvalidArgument(f"{name}: invalid compression level: {level}")
        return cls(_COMPRESSIONS[name], level, exporter.flag("force-compression"))


@dataclass(frozen=True)
class Annotations:
    """What is said of an image: by kind (manifest, manifest-descriptor, index, index-descriptor) and platform.

    An empty platform stands for all of them.
    """

    values: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)

    @classmethod
    def of(cls, exporter: Exporter) -> Annotations:
        """Read them. Raises InvalidArgument."""
        values: dict[tuple[str, str], dict[str, str]] = {}
        for name, value in exporter.attributes.items():
            if (found := _ANNOTATION.fullmatch(name)) is not None:
                kind, platform, key = found[1] or "manifest", found[2], found[3]
                if kind not in _KINDS:
                    raise errors.InvalidArgument(f"unrecognized annotation type {kind}")
                shown = str(Platform.parse(platform)) if platform else ""
                values.setdefault((kind, shown), {})[key] = value
        return cls(values)

    def of_index(self, kind: str) -> dict[str, str]:
        """Return what an index or its descriptor is to say, whatever platform was named."""
        return {key: value for (each, _), said in self.values.items() if each == kind for key, value in said.items()}

    def of_platform(self, kind: str, platform: Platform) -> dict[str, str]:
        """Return what a platform's manifest or its descriptor is to say."""
        return {**self.values.get((kind, ""), {}), **self.values.get((kind, str(platform)), {})}

    def check(self, platforms: Iterable[Platform], *, has_index: bool) -> None:
        """Refuse what there is nothing for. Raises InvalidArgument."""
        known = {"", *map(str, platforms)}
        for _, platform in self.values:
            if platform not in known:
                raise errors.InvalidArgument(f"invalid annotation: no platform {platform} found in source")
        if not has_index and any(kind.startswith("index") for kind, _ in self.values):
            raise errors.InvalidArgument("index annotations not supported for single platform export")

    @property
    def needs_oci(self) -> bool:
        """Whether there are some that Docker's own media types have no place for."""
        return any(kind in _OCI_ONLY_KINDS for kind, _ in self.values)


def check(exporters: Iterable[Exporter], caches: Iterable[CacheLocation]) -> None:
    """Refuse what is not known, or can be told to be wrong before a build. Raises the engine's errors."""
    for exporter in exporters:
        if exporter.type not in _KNOWN:
            raise errors.NotFound(f'exporter "{exporter.type}" could not be found')
        shown = "image" if exporter.type == "moby" else exporter.type
        _check_names(exporter, _KNOWN[exporter.type], f"exporter {shown}")
        if exporter.type not in ("local", "tar"):
            _check_image(exporter)
    for cache in caches:
        if cache.type not in _KNOWN_CACHES:
            raise errors.InvalidArgument(f'unknown cache exporter: "{cache.type}"')
        as_exporter = Exporter(cache.type, cache.attributes)
        _check_names(as_exporter, _KNOWN_CACHES[cache.type], f"cache {cache.type}")
        Compression.of(as_exporter)


def _check_names(exporter: Exporter, known: set[str], shown: str) -> None:
    for name in exporter.attributes:
        is_annotation = "name" in known and _ANNOTATION.fullmatch(name)
        if name not in known and not is_annotation and not name.startswith(("attest:", "lightship.")):
            raise errors.InvalidArgument(f"unknown option {name} of {shown}")


def _check_image(exporter: Exporter) -> None:
    """Check what decides nothing before the export; some are without effect, as in dockerd.

    Images are always unpacked; layers that may not be distributed are no longer made by anybody.
    """
    Compression.of(exporter)
    Annotations.of(exporter)
    for name in ("oci-artifact", "attestation-inline", "prefer-nondist-layers", "unpack", "danging-name-empty-only"):
        exporter.flag(name)
    if exporter.flag("rewrite-timestamp") and exporter.type in ("image", "moby"):
        raise errors.InvalidArgument('exporter option "rewrite-timestamp" conflicts with "unpack"')
    if not exporter.flag("tar", default=True):
        raise errors.NotImplemented("image layouts are exported as tar only (tar=false)")
