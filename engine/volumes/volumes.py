"""The volumes: made, listed, filled at first use, removed and pruned; told to the event stream.

Called by the API and by `containers.mounts`. A volume in use by a container (`acquire`) cannot be removed; who uses
what is not written here but told again by the containers' records after a restart (`hold`). Mounting is not done
here: a volume is a directory or a file system that the runtime mounts inside the container. Those of a plugin are
mounted by it (`attachments`), and are what it says they are; what is written here of them is who drives them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, cast
from weakref import WeakValueDictionary

from msgspec import UNSET

from ...openapi.types.model import given
from ...openapi.types.volumes import Volume, VolumeCreateRequest, VolumeUsageData
from .. import booleans
from ..errors import Conflict, Error, InvalidArgument, NotFound
from ..events import Events
from ..filters import Filters
from ..ids import new_id
from ..store import Store
from ..times import SECOND_NS, rfc3339
from . import copyup, local
from .attachments import Attachments
from .local import DRIVER, LocalDirectories
from .plugin import PluginVolume
from .plugins import Plugins
from .record import VolumeRecord, VolumeSource

logger = logging.getLogger(__name__)

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
_ID_LENGTH = 64
_LIST_FILTERS = ("dangling", "name", "driver", "label")
_PRUNE_FILTERS = ("label", "label!", "all")


class Volumes:
    """All volumes: those of the local driver, and those of plugins."""

    def __init__(self, store: Store, events: Events, root: Path) -> None:
        self._table = store.table("volumes", VolumeRecord)
        self._events = events
        self._directories = LocalDirectories(root)
        self._records: dict[str, VolumeRecord] = {}
        self._users: dict[str, set[str]] = {}
        self.plugins = Plugins()
        self.attachments = Attachments(store, self.plugins)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._filling: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._pruning = False

    def load(self) -> None:
        """Read the records and bring them and the directories into line; called before containers are restored."""
        self._directories.prepare()
        self.attachments.load()
        self._records = dict(self._table.all())
        for name, record in self._records.items():
            if record.driver == DRIVER:
                self._directories.create(name)
        for name, created_ns in self._directories.names():
            if name not in self._records:
                self._save(VolumeRecord(name=name, created_ns=created_ns))

    def uses_driver(self, name: str) -> bool:
        """Tell whether a volume is of this driver."""
        return any(record.driver == name for record in self._records.values())

    async def create(self, request: VolumeCreateRequest) -> Volume:
        """Make a volume, or return the one that has the name already."""
        record = await self._create(
            given(request.name, ""),
            driver=given(request.driver, ""),
            options=given(request.driver_opts, None),
            labels=given(request.labels, None),
        )
        if record.driver == DRIVER:
            return self._describe(record)
        # As it is before anyone mounts it: the plugin is not asked again.
        return await self._describe_as_told(record, PluginVolume(name=record.name))

    async def list(self, filters: Filters) -> tuple[Sequence[Volume], Sequence[str]]:
        """Return the volumes that match, and warnings of drivers."""
        filters.validate(_LIST_FILTERS)
        wanted = not filters.boolean("dangling") if "dangling" in filters else None
        answers, warnings = await self.plugins.listing()
        described = [
            (record, self._describe(record)) for record in self._records.values() if record.driver not in answers
        ]
        for driver, volumes in answers.items():
            for told in volumes:
                record = self._records.get(told.name) or VolumeRecord(name=told.name, driver=driver)
                if record.driver == driver:
                    described.append((record, await self._describe_as_told(record, told)))
        found = [
            volume
            for record, volume in described
            if _matches(record, filters) and (wanted is None or bool(self._users.get(record.name)) == wanted)
        ]
        return found, warnings

    async def inspect(self, name: str) -> Volume:
        with _operation("get", name):
            record = await self._find(name)
            if record.driver == DRIVER:
                return self._describe(record)
            return await self._describe_as_told(record, await self._told(record))

    async def usage(self) -> Sequence[Volume]:
        """Return the volumes that hold data of their own, with their size and number of users (`system df`)."""
        records = [record for record in self._records.values() if record.driver == DRIVER and not record.options]
        volumes = []
        for record in records:
            size = await asyncio.to_thread(local.disk_usage, self._directories.path(record.name))
            volume = self._describe(record)
            volume.usage_data = VolumeUsageData(size=size, ref_count=len(self._users.get(record.name, ())))
            volumes.append(volume)
        return volumes

    async def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume that nothing uses; with `force` one that is not there is no error."""
        try:
            with _operation("get", name):
                record = await self._find(name)
                if record.driver != DRIVER:
                    await self._told(record)
        except NotFound:
            if force:
                return
            raise
        await self._remove(record)

    async def prune(self, filters: Filters) -> tuple[Sequence[str], int]:
        """Remove unused volumes, anonymous ones only unless `all` is set; return their names and the bytes freed."""
        if self._pruning:
            raise Conflict("a prune operation is already running")
        filters.validate(_PRUNE_FILTERS)
        everything = _parse_all(filters)
        self._pruning = True
        try:
            removed, reclaimed = [], 0
            for record in [record for record in tuple(self._records.values()) if _matches(record, filters)]:
                is_anonymous = ANONYMOUS_LABEL in (record.labels or {})
                if (
                    record.driver != DRIVER
                    or record.options
                    or self._users.get(record.name)
                    or not (everything or is_anonymous)
                ):
                    continue
                size = await asyncio.to_thread(local.disk_usage, self._directories.path(record.name))
                try:
                    await self._remove(record)
                except Error as error:
                    logger.warning("%s: volume not removed: %s", record.name, error)
                    continue
                removed.append(record.name)
                reclaimed += max(size, 0)
        finally:
            self._pruning = False
        self._events.publish("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return removed, reclaimed

    async def acquire(
        self,
        name: str,
        container_id: str,
        *,
        driver: str = "",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> VolumeSource:
        """Let a container use a volume, which is made where it is missing; no name makes an anonymous one."""
        record = await self._create(name, driver=driver, options=options, labels=labels)
        self.hold(record.name, container_id)
        return self._source(record)

    def _source(self, record: VolumeRecord, path: str = "") -> VolumeSource:
        """Say what a container mounts of the volume; a plugin says where it is only once it has mounted it."""
        if record.driver == DRIVER:
            return self._directories.source(record)
        return VolumeSource(name=record.name, driver=record.driver, path=path)

    def hold(self, name: str, container_id: str) -> None:
        """Count the container among the volume's users; also called for each one restored after a restart."""
        self._users.setdefault(name, set()).add(container_id)

    def release(self, name: str, container_id: str) -> None:
        """Take the container off the volume's users; idempotent."""
        users = self._users.get(name)
        if users is None:
            return
        users.discard(container_id)
        if not users:
            del self._users[name]

    async def copy_up(
        self,
        name: str,
        root: Sequence[dict[str, Any]],
        destination: str,
        *,
        container_id: str,
        subpath: str = "",
        image_volume: bool = False,
    ) -> None:
        """Fill an empty volume with what the container's root holds at `destination`; one copy at a time a volume."""
        record = self._records[name]
        async with self._filling.setdefault(name, asyncio.Lock()), AsyncExitStack() as borrowed:
            path = ""
            if record.driver != DRIVER:
                if not await asyncio.to_thread(copyup.holds, root, destination):
                    return
                borrow = self.attachments.borrow(name, record.driver, container_id)
                path = await borrowed.enter_async_context(borrow)
            source = self._source(record, path)
            await asyncio.to_thread(
                copyup.copy_up, root, destination, source, subpath=subpath, image_volume=image_volume
            )

    async def _create(
        self,
        name: str,
        *,
        driver: str,
        options: Mapping[str, str] | None,
        labels: Mapping[str, str] | None,
    ) -> VolumeRecord:
        if not name:
            name = new_id()
            labels = {**(labels or {}), ANONYMOUS_LABEL: ""}
        async with self._locks.setdefault(name, asyncio.Lock()):
            with _operation("create", name):
                driver = self.plugins.full_name(driver)
                if existing := await self._existing(name, driver):
                    return existing
                if driver in ("", DRIVER):
                    local.check_name(name)
                    local.check_options(options or {})
                    self._directories.create(name)
                else:
                    plugin = await self.plugins.get(driver)
                    await plugin.scope()
                    if await plugin.find(name) is None:
                        await plugin.create(name, options)
            record = VolumeRecord(
                name=name,
                driver=driver or DRIVER,
                labels=None if labels is None else dict(labels),
                options=None if options is None else dict(options),
                created_ns=time.time_ns(),
            )
            self._save(record)
        self._events.publish("volume", "create", name, {"driver": record.driver})
        return record

    async def _existing(self, name: str, driver: str) -> VolumeRecord | None:
        """Return the volume that has this name already; raise Conflict where it is another driver's."""
        record = self._records.get(name)
        if record is None:
            is_new = bool(driver) or len(name) == _ID_LENGTH
            return None if is_new else await self._probe(name)
        if record.driver == DRIVER:
            self._directories.create(name)
        elif not await self._is_still_there(record):
            return None
        if driver not in ("", record.driver):
            if driver != DRIVER:
                await self.plugins.get(driver)  # a driver that is not there comes before the conflict
            raise Conflict(f"driver '{record.driver}' already has volume '{name}': volume name must be unique")
        return record

    async def _is_still_there(self, record: VolumeRecord) -> bool:
        """Ask the plugin; forget a volume that it does not know any more."""
        reference = f"to volume '{record.name}' in driver '{record.driver}'"
        try:
            await self._told(record)
        except NotFound as error:
            if self._users.get(record.name):
                raise Conflict(
                    f"found references {reference} but the volume was not found in the driver -- you may need to "
                    "remove containers referencing this volume or force remove the volume to re-create it: "
                    "volume name must be unique"
                ) from error
            return False
        except Error as error:
            text = f"found reference {reference}, but got an error while checking the driver: {error}"
            raise Conflict(f"{text}: volume name must be unique") from error
        return True

    async def _find(self, name: str) -> VolumeRecord:
        """Return the record of a volume, which a plugin may have made without us."""
        record = self._records.get(name) or await self._probe(name)
        if record is None:
            raise NotFound("no such volume")
        return record

    async def _probe(self, name: str) -> VolumeRecord | None:
        driver = await self.plugins.driver_of(name)
        if driver:
            self._save(VolumeRecord(name=name, driver=driver))
        return self._records.get(name)

    async def _told(self, record: VolumeRecord) -> PluginVolume:
        """Return what the plugin says of its volume; what it does not know any more is forgotten."""
        told = await self.plugins.told(record.driver, record.name)
        if told is None:
            if not self._users.get(record.name):
                self._forget(record.name)
            raise NotFound("no such volume")
        return told

    def _save(self, record: VolumeRecord) -> None:
        self._table.put(record.name, record)
        self._records[record.name] = record

    async def _remove(self, record: VolumeRecord) -> None:
        if users := self._users.get(record.name):
            raise Conflict(f"remove {record.name}: volume is in use - [{', '.join(sorted(users))}]")
        aside = None
        with _operation("remove", record.name):
            if record.driver == DRIVER:
                aside = self._directories.set_aside(record.name)
            else:
                await (await self.plugins.get(record.driver)).remove(record.name)
        self._forget(record.name)
        self._events.publish("volume", "destroy", record.name, {"driver": record.driver})
        if aside is not None:
            await asyncio.to_thread(local.delete, aside)

    def _forget(self, name: str) -> None:
        self._table.delete(name)
        self._records.pop(name, None)

    def _describe(self, record: VolumeRecord) -> Volume:
        return Volume(
            name=record.name,
            driver=record.driver,
            mountpoint=str(self._directories.path(record.name)) if record.driver == DRIVER else "",
            created_at=rfc3339(record.created_ns // SECOND_NS * SECOND_NS) if record.created_ns else UNSET,
            labels=record.labels,
            options=record.options,
            scope="local",
        )

    async def _describe_as_told(self, record: VolumeRecord, told: PluginVolume) -> Volume:
        volume = self._describe(record)
        volume.mountpoint = told.mountpoint
        volume.created_at = told.created_at or UNSET
        # The published type has objects for values; plugins give what they like.
        volume.status = cast("dict[str, dict[str, Any]]", told.status) if told.status else UNSET
        volume.scope = await (await self.plugins.get(record.driver)).scope()
        return volume


def _matches(record: VolumeRecord, filters: Filters) -> bool:
    return (
        filters.regex("name", record.name)
        and filters.exact("driver", record.driver)
        and filters.labels("label", record.labels or {})
        and not ("label!" in filters and filters.labels("label!", record.labels or {}))
    )


@contextmanager
def _operation(verb: str, name: str) -> Iterator[None]:
    """Put the operation and the volume before an error's text, as dockerd does."""
    try:
        yield
    except Error as error:
        raise type(error)(f"{verb} {name}: {error}") from error


def _parse_all(filters: Filters) -> bool:
    values = filters.get("all")
    if len(values) > 1:
        raise InvalidArgument(f"invalid filter 'all=[{' '.join(values)}]': only one value is expected")
    if not values:
        return False
    try:
        return booleans.parse(values[0])
    except ValueError as error:
        raise InvalidArgument(f"invalid filter 'all': {error}") from error
