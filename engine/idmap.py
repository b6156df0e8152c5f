"""`userns-remap`: which ids of the host the containers' ids are, by /etc/subuid and /etc/subgid.

Read once when the engine starts. The rules and sentences are those of moby's `parseRemappedRoot` and of moby/sys/user.
Layers and volumes are not changed on disk for it: id-mapped mounts show them as the containers' own.
"""

from __future__ import annotations

import grp
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import Error, Internal, InvalidArgument

DEFAULT_USER = "dockremap"
_FIRST_ID, _RANGE = 100_000, 65_536
_SUBUID, _SUBGID = Path("/etc/subuid"), Path("/etc/subgid")


@dataclass(frozen=True, slots=True)
class IdRange:
    """`size` ids from `container_id` on are the host's from `host_id` on."""

    container_id: int
    host_id: int
    size: int


@dataclass(frozen=True, slots=True)
class IdMap:
    """The ids of all containers that do not ask for the host's."""

    user: str
    group: str
    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]

    @property
    def root_uid(self) -> int:
        """The host's id of the containers' root."""
        return self.uids[0].host_id

    @property
    def root_gid(self) -> int:
        return self.gids[0].host_id

    def outside(self, uid: int, gid: int) -> tuple[int, int]:
        """Return the host's ids for a container's."""
        return _host_id(self.uids, uid), _host_id(self.gids, gid)

    def to_oci(self) -> dict[str, list[dict[str, int]]]:
        """Return it as the runtime spec has it."""
        return {"uidMappings": _to_oci(self.uids), "gidMappings": _to_oci(self.gids)}


def read(setting: str) -> IdMap | None:
    """Return the mapping that the setting asks for; None where there is none, or root is to stay itself."""
    if not setting:
        return None
    user, group = _names(setting)
    if user == "root":
        return None
    uids, gids = _ranges(_SUBUID, user), _ranges(_SUBGID, user)
    for kind, found in (("subuid", uids), ("subgid", gids)):
        if not found:
            raise InvalidArgument(f'error creating ID mappings: no {kind} ranges found for user "{user}"')
    return IdMap(user, group, uids, gids)


def _to_oci(ranges: tuple[IdRange, ...]) -> list[dict[str, int]]:
    return [{"containerID": one.container_id, "hostID": one.host_id, "size": one.size} for one in ranges]


def _host_id(ranges: tuple[IdRange, ...], id: int) -> int:
    for one in ranges:
        if one.container_id <= id < one.container_id + one.size:
            return one.host_id + id - one.container_id
    raise InvalidArgument(f"container ID {id} cannot be mapped to a host ID")


def _names(setting: str) -> tuple[str, str]:
    """Return the names of the user and the group that are meant."""
    parts = setting.split(":")
    if len(parts) > 2:
        raise InvalidArgument(f'Invalid user/group specification in --userns-remap: "{setting}"')
    if parts[0] == "default":
        _make_default()
    if parts[0].isdecimal():
        user = _user_of(int(parts[0]))
        group = "" if len(parts) == 2 else _group_of(int(parts[0]), "group")
    else:
        user = DEFAULT_USER if parts[0] == "default" else parts[0]
        _check_user(user)
        group = "" if len(parts) == 2 else _check_group(user, "gid")
    if len(parts) == 2:
        group = _group_of(int(parts[1]), "passwd") if parts[1].isdecimal() else _check_group(parts[1], "groupname")
    return user, group


def _user_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        text = f"Uid {uid} has no entry in /etc/passwd: no matching entries in passwd file"
        raise InvalidArgument(text) from None


def _group_of(gid: int, file: str) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        text = f"Gid {gid} has no entry in /etc/{file}: no matching entries in group file"
        raise InvalidArgument(text) from None


def _check_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        text = f'Error during uid lookup for "{name}": no matching entries in passwd file'
        raise InvalidArgument(text) from None


def _check_group(name: str, what: str) -> str:
    try:
        return grp.getgrnam(name).gr_name
    except KeyError:
        text = f'Error during {what} lookup for "{name}": no matching entries in group file'
        raise InvalidArgument(text) from None


def _ranges(path: Path, user: str) -> tuple[IdRange, ...]:
    """Return a user's ranges in the file, put together from 0 on in the containers."""
    found: list[IdRange] = []
    next_id = 0
    names = (user, str(pwd.getpwnam(user).pw_uid))
    for owner, first, size in _entries(path):
        if owner in names:
            found.append(IdRange(next_id, first, size))
            next_id += size
    return tuple(found)


def _entries(path: Path) -> list[tuple[str, int, int]]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []
    entries = []
    for line in lines:
        if not line or line.startswith("#"):
            continue
        owner, _, numbers = line.partition(":")
        first, _, size = numbers.partition(":")
        if not (first.isdecimal() and size.isdecimal()):
            raise InvalidArgument(f"error creating ID mappings: cannot parse subuid/gid information: {line}")
        entries.append((owner, int(first), int(size)))
    return entries


def _make_default() -> None:
    """Make the user, its group and its ranges, where they are not there yet."""
    try:
        try:
            pwd.getpwnam(DEFAULT_USER)
        except KeyError:
            no_login = ("--no-create-home", "--shell", "/bin/false")
            _run("useradd", "--system", "--user-group", *no_login, DEFAULT_USER)
        for path, flag in ((_SUBUID, "--add-subuids"), (_SUBGID, "--add-subgids")):
            if not _ranges(path, DEFAULT_USER):
                first = max((first + size for _, first, size in _entries(path)), default=_FIRST_ID)
                _run("usermod", flag, f"{max(first, _FIRST_ID)}-{max(first, _FIRST_ID) + _RANGE - 1}", DEFAULT_USER)
    except Error as error:
        raise Internal(f'Error during "{DEFAULT_USER}" user creation: {error}') from error


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Internal(f"{command[0]}: command not found") from None
    except subprocess.CalledProcessError as error:
        raise Internal(f"{' '.join(command)}: {error.stderr.strip()}") from error
