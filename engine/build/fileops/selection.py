"""What a COPY takes: from paths with wildcards to the files and directories they stand for.

Digests and copies use the same selection, so that a cached result is used exactly where the copy would be the same.
"""

from __future__ import annotations

import os
import posixpath
import stat

from ..patterns import Patterns, clean
from . import trees

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Selected:
    """One thing to copy: `where` it is in the source, its `name` as it was asked for.

    `include` and `exclude` are patterns for what is in it, where it is a directory.
    """

    __slots__ = ("exclude", "include", "name", "status", "where")

    def __init__(
        self, where: str, name: str, status: os.stat_result, include: Patterns | None, exclude: Patterns | None
    ) -> None:
        self.where, self.name, self.status, self.include, self.exclude = where, name, status, include, exclude

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)


def select(
    root_fd: int, paths: Sequence[str], *, exclude: Sequence[str], keeps_parents: bool, needs_match: bool
) -> list[Selected]:
    """Find what the paths stand for; refuse one that is not there."""
    excluded = Patterns(exclude) if exclude else None
    found: list[Selected] = []
    for path in paths:
        matches = _with_parents(root_fd, path, excluded) if keeps_parents else _plain(root_fd, path, excluded)
        found += matches
        if not matches and needs_match and not trees.has_wildcards(path):
            raise trees.missing(path)
    return found


def _plain(root_fd: int, path: str, excluded: Patterns | None) -> list[Selected]:
    found = []
    for each in trees.expand(root_fd, path):
        where, status = trees.resolve(root_fd, each)
        name = posixpath.basename(trees.absolute(each))
        found.append(Selected(where, name, status, None, excluded))
    return found


def _with_parents(root_fd: int, path: str, excluded: Patterns | None) -> list[Selected]:
    """Take what matches from the root on, or from the `/./` that a path may have."""
    before, pivot, after = path.partition("/./")
    pattern = clean((after if pivot else path).lstrip("/"))
    found = []
    for base in trees.expand(root_fd, before) if pivot else ["/"]:
        where, status = trees.resolve(root_fd, base)
        if stat.S_ISDIR(status.st_mode):
            if not trees.has_wildcards(pattern) and pattern != ".":
                trees.resolve(root_fd, posixpath.join(base, pattern))
            include = None if pattern == "." else Patterns([pattern])
            found.append(Selected(where, "", status, include, excluded))
    return found


class Walk:
    """Goes through a selected directory: each member with its directory's descriptor, parents first, sorted.

    A directory that does not match itself is told where something in it does.
    """

    def __init__(self, selected: Selected) -> None:
        self._include, self._exclude = selected.include, selected.exclude

    def members(self, directory_fd: int, prefix: str, state: State) -> Iterator[tuple[str, str, os.stat_result, State]]:
        """Yield name, path below the selected directory, attributes, and the state for what is inside."""
        for name in sorted(os.listdir(directory_fd)):
            path = f"{prefix}{name}"
            included, include_state = True, None
            if self._include is not None:
                included, include_state = self._include.match(path, state[0])
            exclude_state = None
            is_excluded = False
            if self._exclude is not None:
                is_excluded, exclude_state = self._exclude.match(path, state[1])
                if is_excluded and not self._exclude.has_exclusions:
                    continue
            status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            is_taken = included and not is_excluded
            if is_taken or stat.S_ISDIR(status.st_mode):
                yield name, path, status, (include_state, exclude_state, is_taken)


State = tuple["tuple[bool, ...] | None", "tuple[bool, ...] | None", bool]
START: State = (None, None, True)
