"""Part of a build context as a directory of its own: hard links to the files of the whole, chosen by patterns."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..patterns import Patterns, clean

_WILDCARDS = frozenset("*?[\\")


def link(source: Path, target: Path, *, follow: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> None:
    """Fill `target` with what of `source` the patterns choose; directories are made anew, files are the same."""
    wanted = Patterns([*include, *_followed(source, follow)])
    _Linking(source, target, wanted, Patterns(exclude)).run()


def _followed(source: Path, follow: Sequence[str]) -> list[str]:
    """Return the paths as patterns; where a link is on the way, everything may be meant."""
    patterns = []
    for path in follow:
        parts = clean(path).split("/")
        literal = parts[: next((at for at, part in enumerate(parts) if set(part) & _WILDCARDS), len(parts))]
        if any((source / "/".join(literal[: at + 1])).is_symlink() for at in range(len(literal))):
            return ["**"]
        patterns.append("/".join(parts))
    return patterns


class _Linking:
    def __init__(self, source: Path, target: Path, wanted: Patterns, excluded: Patterns) -> None:
        self._source, self._target = str(source), str(target)
        self._wanted, self._excluded = wanted, excluded
        self._linked: set[str] = set()

    def run(self) -> None:
        self._directory("", None, None)
        for path in sorted(self._linked, reverse=True):
            shutil.copystat(f"{self._source}/{path}", f"{self._target}/{path}")

    def _directory(self, path: str, wanted: tuple[bool, ...] | None, excluded: tuple[bool, ...] | None) -> None:
        with os.scandir(f"{self._source}/{path}") as entries:
            for entry in entries:
                inside = f"{path}/{entry.name}" if path else entry.name
                is_wanted, wanted_by = self._wanted.match(inside, wanted)
                is_excluded, excluded_by = self._excluded.match(inside, excluded)
                chosen = (is_wanted or not self._wanted) and not is_excluded
                if not entry.is_dir(follow_symlinks=False):
                    if chosen:
                        self._parents(path)
                        os.link(entry.path, f"{self._target}/{inside}", follow_symlinks=False)
                    continue
                if chosen:
                    self._parents(inside)
                if chosen or not is_excluded or self._excluded.has_exclusions:
                    self._directory(inside, wanted_by, excluded_by)

    def _parents(self, path: str) -> None:
        """Make a directory as it is in the source, and those that it is in."""
        if path and path not in self._linked:
            self._parents(path.rpartition("/")[0])
            os.mkdir(f"{self._target}/{path}", 0o700)
            status = os.lstat(f"{self._source}/{path}")
            os.chown(f"{self._target}/{path}", status.st_uid, status.st_gid)
            self._linked.add(path)
