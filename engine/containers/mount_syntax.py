"""What `-v`, `--mount`, `--tmpfs` and `--volumes-from` say: their syntax and rules, without looking at any volume.

Called by `validate` (every text is checked before anything is made) and by `mounts` (which then makes volumes of it).
The rules and sentences are those of moby's `daemon/volume/mounts` for Linux; clients show the sentences.
"""

from __future__ import annotations

import os
import posixpath

import msgspec

from ...openapi.types.model import given
from ...openapi.types.mounts import BindOptions, IDMapping, Mount, TmpfsOptions, VolumeDriverConfig, VolumeOptions
from ..errors import InvalidArgument

MATCH_USER, USERNS = ID_SOURCES = ("match-user", "userns")
"""The source's owner is shown as the container's user; all files have the ids of its user namespace."""
DEFAULT_PROPAGATION = "rprivate"
PROPAGATIONS = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave"))
_MODE_GROUPS = (
    frozenset(("rw", "ro")),
    frozenset(("z", "Z")),
    PROPAGATIONS,
    frozenset(("nocopy",)),
    frozenset(("consistent", "cached", "delegated")),
)
_TMPFS_WORDS = frozenset(("exec", "noexec"))
_SIZE_SUFFIXES = (("g", 1 << 30), ("m", 1 << 20), ("k", 1 << 10))


class ParsedMount(msgspec.Struct, frozen=True):
    """One mount as it was asked for: by the text of `-v`, whose `mode` follows the second colon, or by `--mount`."""

    spec: Mount
    destination: str
    mode: str = ""
    from_bind_text: bool = False

    @property
    def type(self) -> str:
        return given(self.spec.type, "")

    @property
    def source(self) -> str:
        return given(self.spec.source, "")

    @property
    def read_only(self) -> bool:
        return given(self.spec.read_only, False)


def parse_bind(text: str, volume_driver: str = "") -> ParsedMount:
    """Read one entry of HostConfig.Binds: `[source:]destination[:mode]`."""
    parts = text.split(":")
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and is_valid_mode(parts[1])):
        raise InvalidArgument(f"invalid volume specification: '{text}'")
    mode = parts[2] if len(parts) == 3 else ""
    if not is_valid_mode(mode):
        raise InvalidArgument(f"invalid mode: {mode}")
    words = mode.split(",")
    spec = Mount(
        type="bind" if len(parts) > 1 and parts[0].startswith("/") else "volume",
        source=parts[0] if len(parts) > 1 else "",
        target=parts[min(1, len(parts) - 1)],
        read_only="ro" in words,
    )
    if volume_driver and spec.type == "volume":
        spec.volume_options = VolumeOptions(driver_config=VolumeDriverConfig(name=volume_driver))
    if "nocopy" in words:
        options = given(spec.volume_options, VolumeOptions())
        options.no_copy = True
        spec.volume_options = options
    if propagation := next((word for word in words if word in PROPAGATIONS), ""):
        spec.bind_options = BindOptions(propagation=propagation)
    try:
        check_mount(spec, source_must_exist=False)
    except InvalidArgument as error:
        raise InvalidArgument(f"invalid volume specification: '{text}': {error}") from error
    return ParsedMount(spec, clean(given(spec.target, "")), mode, from_bind_text=True)


def parse_mount(spec: Mount, *, source_must_exist: bool = True) -> ParsedMount:
    """Check one entry of HostConfig.Mounts."""
    check_mount(spec, source_must_exist=source_must_exist)
    return ParsedMount(spec, clean(given(spec.target, "")))


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """Read `container[:mode]`; return the reference and whether what is writable stays so."""
    if not text:
        raise InvalidArgument("volumes-from specification cannot be an empty string")
    ref, _, mode = text.partition(":")
    words = mode.split(",")
    if not is_valid_mode(mode) or PROPAGATIONS.intersection(words) or "nocopy" in words:
        raise InvalidArgument(f"invalid mode: {mode}")
    return ref, "ro" not in words


def is_valid_mode(mode: str) -> bool:
    """Tell whether each word is known and no group of words is used twice."""
    words = mode.split(",") if mode else []
    known = all(any(word in group for group in _MODE_GROUPS) for word in words)
    return known and all(sum(word in group for word in words) <= 1 for group in _MODE_GROUPS)


def check_mount(spec: Mount, *, source_must_exist: bool) -> None:
    """Raise InvalidArgument where a mount cannot work as it was asked for."""
    try:
        _check_exclusive(spec)
        _check_target(spec)
        _CHECKS.get(given(spec.type, ""), _unknown_type)(spec)
        if spec.type == "bind" and source_must_exist:
            _check_source_exists(spec)
    except InvalidArgument as error:
        raise InvalidArgument(f'invalid mount config for type "{given(spec.type, "")}": {error}') from error


def check_absolute(path: str) -> None:
    """Refuse a destination that is the root or does not start there."""
    if clean(path) == "/":
        raise InvalidArgument("invalid specification: destination can't be '/'")
    if not path.replace("\\", "/").startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{path}' mount path must be absolute")


def clean(path: str) -> str:
    """Shorten a path as Go's path.Clean does (two leading slashes are one)."""
    cleaned = posixpath.normpath(path) if path else "."
    return "/" + cleaned.lstrip("/") if cleaned.startswith("/") else cleaned


def tmpfs_words(options: TmpfsOptions | None, *, read_only: bool) -> list[str]:
    """Turn the options of a tmpfs mount into mount option words."""
    words = ["ro"] if read_only else []
    if options is None:
        return words
    if mode := given(options.mode, 0):
        words.append(f"mode={mode:o}")
    if size_bytes := given(options.size_bytes, 0):
        words.append(f"size={_short_size(size_bytes)}")
    for option in given(options.options, []) or []:
        if not 1 <= len(option) <= 2:
            raise InvalidArgument("invalid option array length")
        if option[0] not in _TMPFS_WORDS:
            raise InvalidArgument(f"invalid option: {option[0]}")
        words.append("=".join(option))
    return words


def _short_size(size_bytes: int) -> str:
    for suffix, unit in _SIZE_SUFFIXES:
        if size_bytes % unit == 0:
            return f"{size_bytes // unit}{suffix}"
    return str(size_bytes)


def _check_exclusive(spec: Mount) -> None:
    for kind, name, options in (
        ("bind", "BindOptions", spec.bind_options),
        ("volume", "VolumeOptions", spec.volume_options),
        ("image", "ImageOptions", spec.image_options),
        ("tmpfs", "TmpfsOptions", spec.tmpfs_options),
    ):
        if spec.type != kind and options is not msgspec.UNSET:
            raise InvalidArgument(f"field {name} must not be specified")


def _check_target(spec: Mount) -> None:
    target = given(spec.target, "")
    if not target:
        raise InvalidArgument("field Target must not be empty")
    check_absolute(target)


def _check_bind(spec: Mount) -> None:
    source = given(spec.source, "")
    if not source:
        raise InvalidArgument("field Source must not be empty")
    propagation = given(given(spec.bind_options, BindOptions()).propagation, "")
    if propagation and propagation not in PROPAGATIONS:
        raise InvalidArgument(f"invalid propagation mode: {propagation}")
    if not source.startswith("/"):
        raise InvalidArgument(f"invalid mount path: '{source}' mount path must be absolute")
    _check_id_mapping(given(given(spec.bind_options, BindOptions()).id_mapping, IDMapping()))


def _check_id_mapping(mapping: IDMapping) -> None:
    source, user = given(mapping.source, ""), given(mapping.user, "")
    if source not in ("", *ID_SOURCES):
        raise InvalidArgument(f"invalid id mapping source: {source}: must be one of {', '.join(ID_SOURCES)}")
    if user and source != MATCH_USER:
        raise InvalidArgument(f"field IDMapping.User must only be specified with the source {MATCH_USER}")


def _check_source_exists(spec: Mount) -> None:
    source = given(spec.source, "")
    if given(given(spec.bind_options, BindOptions()).create_mountpoint, False):
        return
    try:
        os.stat(source)
    except FileNotFoundError:
        raise InvalidArgument(f"bind source path does not exist: {source}") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "invalid argument"
        raise InvalidArgument(f"stat {source}: {(reason or '').lower()}") from error


def _check_volume(spec: Mount) -> None:
    subpath = given(given(spec.volume_options, VolumeOptions()).subpath, "")
    if not subpath:
        return
    if not given(spec.source, ""):
        raise InvalidArgument("must not set Subpath when using anonymous volumes")
    _check_subpath(subpath)


def _check_tmpfs(spec: Mount) -> None:
    if given(spec.source, ""):
        raise InvalidArgument("field Source must not be specified")
    tmpfs_words(given(spec.tmpfs_options, TmpfsOptions()), read_only=given(spec.read_only, False))


def _check_image(spec: Mount) -> None:
    if not given(spec.source, ""):
        raise InvalidArgument("field Source must not be empty")
    if spec.image_options is not msgspec.UNSET and (subpath := given(spec.image_options.subpath, "")):
        _check_subpath(subpath)


def _check_subpath(subpath: str) -> None:
    """Only the words are looked at here; links are the start's concern, which resolves inside the volume."""
    if subpath.startswith("/") or clean(subpath).split("/")[0] == "..":
        raise InvalidArgument("subpath must be a relative path within the volume")


def _unknown_type(spec: Mount) -> None:
    raise InvalidArgument("mount type unknown")


_CHECKS = {"bind": _check_bind, "volume": _check_volume, "tmpfs": _check_tmpfs, "image": _check_image}
