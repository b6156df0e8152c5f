"""What clients ask about images: the list with its filters, inspect, history."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import msgspec
from msgspec import UNSET

from ...openapi.types.config import HealthConfig
from ...openapi.types.images import (
    DriverData,
    ImageConfig,
    ImageHistoryResponseItem,
    ImageInspect,
    ImageMetadata,
    ImageSummary,
    RootFs,
)
from ..errors import InvalidArgument
from ..filters import Filters
from ..snapshots.snapshotter import Snapshotter
from ..times import NEVER, SECOND_NS, parse_time, rfc3339
from . import platforms
from .catalog import Catalog, Image
from .config import RunConfig
from .references import Reference

LIST_FILTERS = ("before", "dangling", "label", "reference", "since", "until")
_UNKNOWN = -1


def listing(
    catalog: Catalog,
    snapshotter: Snapshotter,
    users: platforms.Users,
    filters: Filters,
    *,
    all: bool,
    shared_size: bool,
) -> list[ImageSummary]:
    """Return the images, the newest first. `all` shows those in between, that have children and no name.

    What a name stands for is one item, however many platforms it is for.
    """
    filters.validate(LIST_FILTERS)
    dangling = filters.boolean("dangling") if "dangling" in filters else None
    before, since = _time_bounds(catalog, filters)
    shared = _shared_layers(catalog) if shared_size else None
    parents = {image.record.parent for image in catalog.images()}
    found = []
    for image in catalog.images():
        created = image.created_ns
        if before is not None and (created is None or created >= before):
            continue
        if since is not None and (created is None or created <= since):
            continue
        if not filters.labels("label", image.config.labels):
            continue
        if catalog.is_hidden(image):
            continue
        own = [reference for reference in image.references if catalog.lookup(reference) is image]
        references = [reference for reference in own if _matches(filters, reference)]
        is_hidden_parent = image.id in parents and not all
        if _is_shown(filters, references, dangling=dangling, is_hidden_parent=is_hidden_parent):
            found.append(_summary(catalog, image, references, snapshotter, users, shared))
    return sorted(found, key=lambda summary: summary.created, reverse=True)


def _is_shown(filters: Filters, references: list[Reference], *, dangling: bool | None, is_hidden_parent: bool) -> bool:
    if references:
        return not dangling or all(reference.digest is not None for reference in references)
    return not is_hidden_parent and dangling is not False and "reference" not in filters


def _time_bounds(catalog: Catalog, filters: Filters) -> tuple[int | None, int | None]:
    """Return the times before and after which an image must have been made."""
    before = [catalog.resolve(ref).created_ns for ref in filters.get("before")]
    since = [catalog.resolve(ref).created_ns for ref in filters.get("since")]
    known_before = [time for time in before if time is not None] + [parse_time(text) for text in filters.get("until")]
    known_since = [time for time in since if time is not None]
    return min(known_before, default=None), max(known_since, default=None)


def _shared_layers(catalog: Catalog) -> set[str]:
    counts = Counter(chain for image in catalog.images() for chain in image.chain_ids)
    return {chain for chain, count in counts.items() if count > 1}


def _summary(
    catalog: Catalog,
    image: Image,
    references: list[Reference],
    snapshotter: Snapshotter,
    users: platforms.Users,
    shared: set[str] | None,
) -> ImageSummary:
    others = [other for other in catalog.siblings(image) if catalog.is_hidden(other)]
    size, shared_size = image.size, _UNKNOWN
    if others or shared is not None:
        sizes = _sizes([image, *others], snapshotter)
        size = sum(sizes.values())
        if shared is not None:
            shared_size = sum(size for chain, size in sizes.items() if chain in shared)
    return ImageSummary(
        id=image.id,
        parent_id=image.record.parent,
        repo_tags=sorted(reference.familiar for reference in references if reference.digest is None),
        repo_digests=sorted(reference.familiar for reference in references if reference.digest is not None),
        created=(image.created_ns or 0) // SECOND_NS,
        size=size,
        shared_size=shared_size,
        labels=image.config.config.labels if image.config.config else None,
        containers=sum(len(users(each.id)) for each in (image, *others)),
        descriptor=platforms.descriptor(catalog, image),
    )


def _sizes(images: Sequence[Image], snapshotter: Snapshotter) -> dict[str, int]:
    """Return what the images' layers hold, by chain id."""
    return {
        chain: layer.size
        for image in images
        for chain, diff_id in zip(image.chain_ids, image.diff_ids, strict=True)
        if (layer := snapshotter.layer(diff_id)) is not None
    }


def inspect(catalog: Catalog, image: Image, ref: str, snapshotter: Snapshotter) -> ImageInspect:
    config = image.config
    last_comment = config.history[-1].comment if config.history else None
    tagged_ns = image.record.last_tagged_ns
    return ImageInspect(
        id=image.id,
        descriptor=platforms.descriptor(catalog, image, ref),
        identity=platforms.identity(image),
        repo_tags=image.tags,
        repo_digests=image.digests,
        parent=image.record.parent or UNSET,
        docker_version=config.docker_version or UNSET,
        comment=config.comment or last_comment or UNSET,
        created=_created(image) or UNSET,
        author=config.author or UNSET,
        config=run_config(config.config),
        architecture=config.architecture or "",
        variant=config.variant or UNSET,
        os=config.os or "linux",
        os_version=config.os_version or UNSET,
        size=image.size,
        graph_driver=_graph_driver(image, snapshotter),
        root_fs=RootFs(type=config.rootfs.type if config.rootfs else "layers", layers=image.diff_ids or UNSET),
        metadata=ImageMetadata(last_tag_time=rfc3339(tagged_ns) if tagged_ns else NEVER),
    )


def run_config(config: RunConfig | None) -> ImageConfig:
    """Return a config as the API tells it, without what is empty."""
    if config is None:
        return ImageConfig()
    given = {
        name: value
        for name, value in msgspec.structs.asdict(config).items()
        if value not in (None, "", [], {}, False) and name != "healthcheck"
    }
    if config.healthcheck is not None:
        given["healthcheck"] = msgspec.convert(msgspec.to_builtins(config.healthcheck), HealthConfig)
    return ImageConfig(**given)


def history(catalog: Catalog, image: Image, snapshotter: Snapshotter) -> list[ImageHistoryResponseItem]:
    """Return the image's steps, the last first; ids only where the image made by a step is here."""
    diff_ids = iter(image.diff_ids)
    steps: list[ImageHistoryResponseItem] = []
    for step in image.config.history or []:
        size = 0
        if not step.empty_layer:
            layer = snapshotter.layer(next(diff_ids))
            size = layer.size if layer is not None else 0
        steps.append(
            ImageHistoryResponseItem(
                id="<missing>",
                created=parse_time(step.created) // SECOND_NS if step.created else 0,
                created_by=step.created_by or "",
                comment=step.comment or "",
                size=size,
            )
        )
    steps.reverse()
    made: Image | None = image
    for item in steps:
        if made is None:
            break
        item.id, item.tags = made.id, made.tags or None
        made = catalog.get(made.record.parent)
    return steps


def _created(image: Image) -> str:
    created_ns = image.created_ns
    if created_ns is None:
        return ""
    # 0 is "never" to rfc3339, and the creation time of images built reproducibly.
    return rfc3339(created_ns) if created_ns else "1970-01-01T00:00:00Z"


def _graph_driver(image: Image, snapshotter: Snapshotter) -> DriverData:
    """Say where the layers are. Images are never mounted on the host, so there is no merged directory to name."""
    if snapshotter.driver.copies:
        return DriverData(name=snapshotter.driver.name)
    paths = [str(snapshotter.layer_path(diff_id)) for diff_id in reversed(image.diff_ids)]
    data = {"UpperDir": paths[0]} if paths else {}
    if len(paths) > 1:
        data["LowerDir"] = ":".join(paths[1:])
    return DriverData(name=snapshotter.driver.name, data=data or None)


def _matches(filters: Filters, reference: Reference) -> bool:
    """Match a name against the `reference` patterns, familiar and whole, with tag and without."""
    if "reference" not in filters:
        return True
    targets = (reference.familiar, reference.familiar_name, str(reference), reference.name)
    patterns = [_glob(pattern) for pattern in filters.get("reference")]
    return any(pattern.fullmatch(target) for pattern in patterns for target in targets)


@lru_cache(maxsize=256)
def _glob(pattern: str) -> re.Pattern[str]:
    """Translate a pattern of Go's path.Match, in which `*` and `?` do not match a slash."""
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        position += 1
        if char == "*":
            parts.append("[^/]*")
        elif char == "?":
            parts.append("[^/]")
        elif char == "[":
            end = pattern.find("]", position + 1)
            if end < 0:
                raise InvalidArgument("syntax error in pattern")
            body = pattern[position:end].replace("[", r"\[")
            parts.append(f"[{body}]")
            position = end + 1
        elif char == "\\":
            if position == len(pattern):
                raise InvalidArgument("syntax error in pattern")
            parts.append(re.escape(pattern[position]))
            position += 1
        else:
            parts.append(re.escape(char))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise InvalidArgument("syntax error in pattern") from None
