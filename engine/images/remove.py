"""`docker rmi` and `image prune`: names go first, an image goes with its last name, content with its last image.

The rules and texts are dockerd's (moby `daemon/images/image_delete.go`, `image_prune.go`): running containers and
child images always keep an image; stopped containers and names in several repositories do so unless forced.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...openapi.types.images import ImageDeleteResponseItem
from ..errors import Conflict, InvalidArgument
from ..filters import Filters
from ..ids import short_id
from ..times import parse_time
from .catalog import Image
from .config import Platform
from .references import Reference, parse

if TYPE_CHECKING:
    from .images import Images

PRUNE_FILTERS = ("dangling", "label", "label!", "until")

Items = list[ImageDeleteResponseItem]


class _InUse(Conflict):
    """A container uses the image; dockerd then leaves an untagged image alone without a word."""


async def remove(images: Images, name: str, *, force: bool, prune: bool, platforms: Sequence[Platform] = ()) -> Items:
    """Remove a name, and with its last one the image, for all platforms. See `Images.remove`."""
    image = images.catalog.resolve(name)
    others = images.catalog.siblings(image)
    chosen = {found.id: found for found in (images.catalog.resolve(name, platform=wanted) for wanted in platforms)}
    if chosen and len(chosen) <= len(others):
        return await _remove_platforms(images, list(chosen.values()), force=force)
    items: Items = []
    if _is_id_of(image, name):
        for other in others:
            _check(images, other, force=force, are_names_conflicts=False)
        if _has_one_repository(image):
            _check(images, image, force=force, are_names_conflicts=False)
            _untag_all(images, image, items)
        await _delete(images, image, items, force=force, prune=prune, is_quiet=False)
    else:
        _remove_name(images, name, [image, *others], items, force=force)
        if not image.references:
            await _delete(images, image, items, force=force, prune=prune, is_quiet=True)
    for other in others:
        if not other.references:
            await _delete(images, other, items, force=force, prune=prune, is_quiet=True)
    return items


def _remove_name(images: Images, name: str, named: Sequence[Image], items: Items, *, force: bool) -> None:
    """Untag what `named`, one image a platform, have; the first is what the name points to."""
    image = named[0]
    if not force and _has_one_repository(image):
        for each in named:
            for container, _ in images.users(each.id):
                raise Conflict(
                    f'conflict: unable to remove repository reference "{name}" (must force) - '
                    f"container {short_id(container)} is using its referenced image {short_id(each.id)}"
                )
    reference = parse(name).with_default_tag()
    _untag(images, image, reference, items)
    if reference.digest is None:
        for each in named:
            _untag_leftover_digests(images, each, reference, items)


async def _remove_platforms(images: Images, chosen: Sequence[Image], *, force: bool) -> Items:
    """Remove some of an image's platforms; its names stay with the others."""
    if not force:
        raise InvalidArgument(
            "Content will be removed from all images referencing this variant. Use —-force to force delete."
        )
    for image in chosen:
        _check(images, image, force=True, are_names_conflicts=False)
    items: Items = []
    for image in chosen:
        chains, diff_ids, blobs = image.chain_ids, image.diff_ids, images.catalog.blobs_for(image)
        images.catalog.drop(image.id)
        images.events.publish("image", "delete", image.id, {"name": image.id})
        items.append(ImageDeleteResponseItem(deleted=image.record.manifest))
        items += [ImageDeleteResponseItem(deleted=chain) for chain in images.garbage.unreachable_chains(chains)]
        await images.garbage.collect(blobs=blobs, diff_ids=diff_ids)
    return items


async def prune(images: Images, filters: Filters) -> tuple[Items, int]:
    """Remove unused images, those without a name alone unless the filters say otherwise. See `Images.prune`."""
    filters.validate(PRUNE_FILTERS)
    is_dangling_only = filters.boolean("dangling", default=True)
    until = filters.one("until")
    until_ns = None if until is None else parse_time(until)
    sizes = {
        chain: layer.size
        for image in images.catalog.images()
        for chain, diff_id in zip(image.chain_ids, image.diff_ids, strict=True)
        if (layer := images.snapshotter.layer(diff_id)) is not None
    }
    items: Items = []
    for image in list(images.catalog.images()):
        if images.catalog.get(image.id) is image and _may_prune(images, image, filters, until_ns):
            items += await _prune_one(images, image, is_dangling_only=is_dangling_only)
    reclaimed = sum(sizes.get(item.deleted, 0) for item in items if isinstance(item.deleted, str))
    images.events.publish("image", "prune", "", {"reclaimed": str(reclaimed)})
    return items, reclaimed


def _may_prune(images: Images, image: Image, filters: Filters, until_ns: int | None) -> bool:
    if images.catalog.is_hidden(image) or (not image.references and images.catalog.children(image.id)):
        return False
    if until_ns is not None and (image.created_ns is None or image.created_ns > until_ns):
        return False
    if not filters.labels("label", image.config.labels):
        return False
    return "label!" not in filters or not filters.labels("label!", image.config.labels)


async def _prune_one(images: Images, image: Image, *, is_dangling_only: bool) -> Items:
    has_tag = any(reference.digest is None for reference in image.references)
    if has_tag and is_dangling_only:
        return []
    items: Items = []
    names: list[Reference | None] = [*sorted(image.references, key=str)]
    for reference in names or [None]:
        if reference is not None and reference not in image.references:
            continue  # the digest that it was pulled by went with its tag
        try:
            items += await remove(images, image.id if reference is None else str(reference), force=False, prune=True)
        except Conflict:
            continue
    return items


async def _delete(images: Images, image: Image, items: Items, *, force: bool, prune: bool, is_quiet: bool) -> None:
    """Remove an image; then its parents, as long as nothing else needs them, where `prune` asks for it."""
    try:
        _check(images, image, force=force, are_names_conflicts=not force)
    except Conflict as conflict:
        is_dangling = not image.references and not images.catalog.children(image.id)
        if is_quiet and (not is_dangling or isinstance(conflict, _InUse)):
            return
        raise
    parent = images.catalog.get(image.record.parent)
    chains, diff_ids, blobs = image.chain_ids, image.diff_ids, image.blobs
    _untag_all(images, image, items)
    images.catalog.remove(image)
    images.events.publish("image", "delete", image.id, {"name": image.id})
    items.append(ImageDeleteResponseItem(deleted=image.id))
    items += [ImageDeleteResponseItem(deleted=chain) for chain in images.garbage.unreachable_chains(chains)]
    await images.garbage.collect(blobs=blobs, diff_ids=diff_ids)
    if prune and parent is not None:
        await _delete(images, parent, items, force=False, prune=True, is_quiet=True)


def _check(images: Images, image: Image, *, force: bool, are_names_conflicts: bool) -> None:
    """Raise Conflict for the first reason to keep the image, in dockerd's order."""
    if images.catalog.children(image.id):
        raise _conflict(image, "cannot be forced", "image has dependent child images")
    users = images.users(image.id)
    for container, is_running in users:
        if is_running:
            reason = f"image is being used by running container {short_id(container)}"
            raise _InUse(_text(image, "cannot be forced", reason))
    if are_names_conflicts and image.references:
        raise _conflict(image, "must be forced", "image is referenced in multiple repositories")
    if not force and users:
        reason = f"image is being used by stopped container {short_id(users[0][0])}"
        raise _InUse(_text(image, "must be forced", reason))


def _conflict(image: Image, force: str, reason: str) -> Conflict:
    return Conflict(_text(image, force, reason))


def _text(image: Image, force: str, reason: str) -> str:
    return f"conflict: unable to delete {short_id(image.id)} ({force}) - {reason}"


def _is_id_of(image: Image, name: str) -> bool:
    return image.id.startswith(name) or image.id.removeprefix("sha256:").startswith(name)


def _has_one_repository(image: Image) -> bool:
    """Tell whether all references are of one repository, with one tag at most."""
    if len(image.references) <= 1:
        return len(image.references) == 1
    tags = [reference for reference in image.references if reference.digest is None]
    return len(tags) <= 1 and len({reference.name for reference in image.references}) == 1


def _untag(images: Images, image: Image, reference: Reference, items: Items) -> None:
    images.catalog.untag(reference)
    images.tell("untag", image)
    items.append(ImageDeleteResponseItem(untagged=reference.familiar))


def _untag_all(images: Images, image: Image, items: Items) -> None:
    for reference in sorted(image.references, key=str):
        _untag(images, image, reference, items)


def _untag_leftover_digests(images: Images, image: Image, removed: Reference, items: Items) -> None:
    """Remove a repository's digests once its last tag is gone."""
    left = [reference for reference in image.references if reference.name == removed.name]
    if all(reference.digest is not None for reference in left):
        for reference in sorted(left, key=str):
            images.catalog.untag(reference)
            items.append(ImageDeleteResponseItem(untagged=reference.familiar))
