"""What the build cache takes on disk, and making it smaller: on request, and by itself after builds.

A record goes only when none that was made from it is left, and nobody uses it. Under a limit the ones least used go
first. The rules, also those of `daemon.json`'s `builder.gc`, are BuildKit's.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import InvalidArgument, NotImplemented
from ..filters import Filters
from ..times import parse_time
from .cache import CacheRecord
from .context import Context
from .request import Keep, Usage
from .steps.local import directory_of

if TYPE_CHECKING:
    from .settings import BuilderConfig

logger = logging.getLogger(__name__)

FILTERS = ("id", "parent", "type", "description", "inuse", "shared", "private", "mutable", "immutable")
_AGES = ("until", "unused-for")
_LABELS = ("label", "label!")
_DELAY_S = 60.0


class Collector:
    """Used from the event loop's thread alone."""

    def __init__(self, context: Context, config: BuilderConfig) -> None:
        self._context, self._config = context, config
        self._timer: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()

    def usage(self, filters: Filters) -> list[Usage]:
        """Return the records that match, the oldest first."""
        filters.validate(FILTERS)
        shared = self._shared_layers()
        found = [self._usage(key, record, shared) for key, record in self._context.cache.records()]
        return [usage for usage in found if _matches(usage, filters)]

    async def prune(self, filters: Filters, *, all: bool, keep: Keep) -> list[Usage]:
        """Remove what matches and is not kept; without `all` nothing that an image has too."""
        filters.validate((*FILTERS, *_AGES, *_LABELS))
        duration_ns = keep.duration_ns or _age_ns(filters)
        async with self._lock:
            limit = self._limit(keep)
            removed: list[Usage] = []
            while batch := self._candidates(filters, all=all, duration_ns=duration_ns):
                if limit:
                    if self._total() < limit:
                        break
                    batch = batch[:1]
                removed += [usage for _, usage in batch]
                await self._remove([key for key, _ in batch])
            await self._drop_replaced()
            return removed

    def collect_soon(self) -> None:
        """Remove what is of no use a while after a build, once for all that end meanwhile."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self._begin)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _begin(self) -> None:
        self._timer = None
        self._context.spawn(self.collect(), name="collecting the build cache")

    async def collect(self) -> None:
        """Bring the cache to disk, remove what was made anew, and apply the policies, one after another."""
        await self._sync()
        await self._drop_replaced()
        for policy in self._config.policies(self._context.root.parent) if self._config.gc_enabled else ():
            keep = Keep(policy.reserved_space, policy.max_used_space, policy.min_free_space, policy.keep_duration_ns)
            filters = Filters()
            for key, value in policy.filters:
                filters = filters.with_value(key, value)
            for usage in await self.prune(filters, all=policy.all, keep=keep):
                logger.info("%s: removed from the build cache: %s", usage.id, usage.description)

    async def _drop_replaced(self) -> None:
        """Remove what was made anew."""
        replaced, self._context.replaced = self._context.replaced, []
        await self._context.images.garbage.collect_layers(replaced)

    async def _sync(self) -> None:
        """Bring to disk what builds have made."""
        if keys := self._context.cache.unsynced():
            await asyncio.to_thread(self._context.images.content.sync)
            self._context.cache.note_synced(keys)

    def _candidates(self, filters: Filters, *, all: bool, duration_ns: int) -> list[tuple[str, Usage]]:
        """Return what may go now, the least used first."""
        cache = self._context.cache
        parents, shared = cache.children(), self._shared_layers()
        oldest_ns = time.time_ns() - duration_ns
        found = []
        for key, record in cache.records():
            usage = self._usage(key, record, shared)
            if key in parents or usage.is_in_use or (usage.is_shared and not all):
                continue
            if duration_ns and record.last_used_ns > oldest_ns:
                continue
            if _matches(usage, filters):
                found.append((key, usage))
        return sorted(found, key=lambda pair: (pair[1].last_used_ns or 0, pair[1].usage_count))

    async def _remove(self, keys: Sequence[str]) -> None:
        directories = [directory_of(self._context, key) for key in keys]
        layers, blobs = self._context.cache.remove(keys)
        await self._context.images.garbage.collect(blobs=blobs, diff_ids=layers)
        for directory in directories:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            directory.with_suffix(".digests").unlink(missing_ok=True)

    def _usage(self, key: str, record: CacheRecord, shared: set[str]) -> Usage:
        cache = self._context.cache
        parents = (cache.get(parent) for parent in record.parents)
        return Usage(
            id=record.id,
            parents=tuple(parent.id for parent in parents if parent is not None),
            type=record.type,
            description=record.description,
            is_in_use=cache.is_used(key) or directory_of(self._context, key) in self._context.locked,
            is_shared=bool(record.layers) and record.layers[-1] in shared,
            size=record.size,
            created_ns=record.created_ns,
            last_used_ns=record.last_used_ns,
            usage_count=record.usage_count,
        )

    def _shared_layers(self) -> set[str]:
        return {diff_id for image in self._context.images.catalog.images() for diff_id in image.diff_ids}

    def _total(self) -> int:
        shared = self._shared_layers()
        records = [record for _, record in self._context.cache.records()]
        return sum(record.size for record in records if not record.layers or record.layers[-1] not in shared)

    def _limit(self, keep: Keep) -> int:
        """Return how many bytes may stay, 0 for no such limit."""
        if not (keep.max_used_space or keep.reserved_space or keep.min_free_space):
            return 0
        limit = keep.max_used_space
        if keep.min_free_space:
            missing = keep.min_free_space - shutil.disk_usage(self._context.root.parent).free
            if missing > 0:
                left = max(self._total() - missing, 1)
                limit = min(limit, left) if limit else left
        return max(limit, keep.reserved_space)


def _matches(usage: Usage, filters: Filters) -> bool:
    texts: tuple[tuple[str, Callable[[str], bool]], ...] = (
        ("id", lambda value: re.search(value, usage.id) is not None),
        ("parent", lambda value: value in usage.parents),
        ("type", lambda value: value == usage.type),
        ("description", lambda value: value == usage.description),
    )
    for key, is_wanted in texts:
        try:
            if key in filters and not all(map(is_wanted, filters.get(key))):
                return False
        except re.error as error:
            raise InvalidArgument(f"invalid filter '{key}': {error}") from error
    facts = (
        ("inuse", usage.is_in_use),
        ("shared", usage.is_shared),
        ("private", not usage.is_shared),
        ("mutable", usage.type != "regular"),
        ("immutable", usage.type == "regular"),
    )
    return all(is_so == (filters.get(key) != ["false"]) for key, is_so in facts if key in filters)


def _age_ns(filters: Filters) -> int:
    """Return how long what goes was not used, by the filter `until` or its older name."""
    if any(key in filters for key in _LABELS):
        raise NotImplemented("records of the build cache have no labels to be filtered by")
    if all(key in filters for key in _AGES):
        raise InvalidArgument('conflicting filters: "until" and "unused-for"')
    key = next((key for key in _AGES if key in filters), "")
    if not key:
        return 0
    values = filters.get(key)
    if len(values) > 1:
        raise InvalidArgument("filters expect only one value")
    try:
        return max(time.time_ns() - parse_time(values[0]), 1)
    except InvalidArgument as error:
        raise InvalidArgument(f"\"{key}\" filter expects a duration (e.g., '24h') or a timestamp") from error
