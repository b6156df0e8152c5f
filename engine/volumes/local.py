"""The local driver: its rules for names and options, and the directory of each volume.

A volume is `<volumes>/<name>/_data`. A directory without a record is adopted (an older engine's, or one whose record
was lost), as dockerd adopts what it finds. Removal renames the directory out of the way first, so that a daemon that
dies half-way neither keeps half a volume nor brings it back.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import Internal, InvalidArgument
from ..ids import new_id
from .record import VolumeRecord, VolumeSource

DRIVER = "local"
DATA = "_data"
NAME_CHARACTERS = "[a-zA-Z0-9][a-zA-Z0-9_.-]"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_REMOVING = ".removing-"
_OPTIONS = ("type", "o", "device", "size")
_NEEDED = (("device", ("type",)), ("type", ("device",)), ("o", ("device", "type")))
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kmgtpe]?i?b?)", re.IGNORECASE)
_SIZE_UNITS = "bkmgtpe"
_MAX_NAME_BYTES = 255


def check_name(name: str) -> None:
    """Refuse a name that is too short, too long or could lead out of the volumes' directory."""
    if len(name) == 1:
        raise InvalidArgument("volume name is too short, names should be at least two alphanumeric characters")
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f'"{name}" includes invalid characters for a local volume name, only "{NAME_CHARACTERS}" are allowed. '
            "If you intended to pass a host directory, use absolute path"
        )
    if len(name) > _MAX_NAME_BYTES:
        raise InvalidArgument("volume name is too long, names should be at most 255 characters")


def check_options(options: Mapping[str, str]) -> None:
    """Refuse options that the driver does not know, lacks another one for, or cannot honour on this host."""
    for option in options:
        if option not in _OPTIONS:
            raise InvalidArgument(f'invalid option: "{option}"')
    device = options.get("device", "")
    if options.get("type") == "cifs" and device and _port(device):
        raise InvalidArgument("port not allowed in CIFS device URL, include 'port' in 'o='")
    if "size" in options and parse_size(options["size"]) > 0:
        raise InvalidArgument("quota size requested but no quota support")
    for option, needed in _NEEDED:
        for other in needed:
            if option in options and other not in options:
                raise InvalidArgument(f'missing required option: "{other}"')


def parse_size(text: str) -> int:
    """Read a size such as `10m` in powers of 1024."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InvalidArgument(f"invalid size: '{text}'")
    number, unit = match.groups()
    return int(float(number) * 1024 ** _SIZE_UNITS.index((unit or "b")[0].lower()))


def _port(url: str) -> int | None:
    try:
        return urlsplit(url).port
    except ValueError as error:
        raise InvalidArgument(f"error parsing mount device url: {error}") from error


class LocalDirectories:
    """The directories under `<data root>/volumes`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def prepare(self) -> None:
        """Make the root and finish removals that were interrupted."""
        self._root.mkdir(mode=0o701, parents=True, exist_ok=True)
        for entry in tuple(self._root.iterdir()):
            if entry.name.startswith(_REMOVING):
                _remove_tree(entry)

    def names(self) -> Iterator[tuple[str, int]]:
        """Yield name and creation time (Unix ns) of every directory that holds a volume."""
        for entry in self._root.iterdir():
            if _NAME.fullmatch(entry.name) and (entry / DATA).is_dir():
                yield entry.name, entry.stat().st_ctime_ns

    def path(self, name: str) -> Path:
        return self._root / name / DATA

    def create(self, name: str) -> None:
        """Make the volume's directory, readable by containers' users, inside one that only root can list."""
        folder = self._root / name
        try:
            folder.mkdir(mode=0o701, exist_ok=True)
            folder.chmod(0o701)
            (folder / DATA).mkdir(mode=0o755, exist_ok=True)
            (folder / DATA).chmod(0o755)
        except OSError as error:
            raise Internal(f"error while creating volume root path '{folder}': {error.strerror}") from error

    def set_aside(self, name: str) -> Path | None:
        """Rename the volume's directory so that it is no volume any more; return what is to be deleted."""
        aside = self._root / f"{_REMOVING}{new_id()}"
        try:
            os.rename(self._root / name, aside)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Internal(f"error removing volume path '{self._root / name}': {error.strerror}") from error
        return aside

    def source(self, record: VolumeRecord) -> VolumeSource:
        """Say what a container mounts; `o=bind` and `type=none` mean a directory elsewhere on the host."""
        options = record.options or {}
        words = tuple(word for word in options.get("o", "").split(",") if word)
        return VolumeSource(
            name=record.name,
            driver=record.driver,
            path=str(self.path(record.name)),
            filesystem=options.get("type", ""),
            device=options.get("device", ""),
            options=words,
        )


def _remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def delete(path: Path) -> None:
    """Delete a directory that was set aside."""
    _remove_tree(path)


def disk_usage(path: Path) -> int:
    """Add up the sizes of the files below `path`, each inode once; -1 where it cannot be read."""
    total = 0
    seen: set[tuple[int, int]] = set()
    pending = [str(path)]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    info = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif (info.st_dev, info.st_ino) not in seen:
                        seen.add((info.st_dev, info.st_ino))
                        total += info.st_size
        except FileNotFoundError:
            if folder == str(path):
                return -1  # below it, a container may remove what is being counted
        except OSError:
            return -1
    return total
