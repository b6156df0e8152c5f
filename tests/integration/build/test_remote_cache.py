"""The cache beyond one engine: inline in an image, and as a manifest at a registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from harness.builds import Heard, Machine, Site, context, run
from harness.registry import Registry
from lightship.engine.build.graph import Copy, Step
from lightship.engine.build.request import CacheLocation, Exporter
from lightship.engine.images.references import parse
from lightship.engine.images.registry.credentials import ANONYMOUS


@pytest.fixture
def registry(machine: Machine) -> Iterator[Registry]:
    made = Registry(machine.netns)
    yield made
    made.close()


def steps(base: Step) -> Step:
    """A stage of its own, a copy of what it makes, and a step on that."""
    stage = run(base, "echo built > /built")
    copied = Copy(Copy(base, stage, ("/built",), "/", name="COPY --from"), context(), ("/file",), "/", name="COPY")
    return run(copied, "cat /built /file > /both")


NAMES = ("COPY --from", "COPY", "RUN cat /built /file > /both")


def cached(heard: Heard) -> list[bool]:
    return [heard.is_cached(name) for name in NAMES]


def test_inline_in_an_image(machine: Machine, registry: Registry) -> None:
    (machine.context / "file").write_text("content")
    name = f"{registry.host}/app:1"

    async def push(site: Site) -> None:
        exporter = Exporter("image", {"name": name})
        outcome, _ = await site.build(steps, exporters=(exporter,), cache_to=(CacheLocation("inline"),))
        assert site.engine.images.get_image(outcome.image_id).config.inline_cache
        async for _ in site.engine.images.push(parse(name), credentials=ANONYMOUS):
            pass

    async def use(site: Site) -> None:
        outcome, heard = await site.build(steps, cache_from=(CacheLocation("registry", {"ref": name}),))
        assert cached(heard) == [True, True, True]
        assert heard.is_cached("RUN echo built > /built"), "it was not needed"
        image = site.engine.images.get_image(outcome.image_id)
        assert (site.engine.snapshots.layer_path(image.diff_ids[-1]) / "both").read_text() == "built\ncontent"
        assert site.clean(), site.leftovers()

    machine.run(push)
    machine.another().run(use)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_at_a_registry(machine: Machine, registry: Registry, mode: str) -> None:
    (machine.context / "file").write_text("content")
    location = {"ref": f"{registry.host}/cache:{mode}"}

    async def export(site: Site) -> None:
        await site.build(steps, cache_to=(CacheLocation("registry", {**location, "mode": mode}),))
        assert site.clean(), site.leftovers()

    async def use(site: Site) -> None:
        where = (CacheLocation("registry", location),)
        assert cached((await site.build(steps, cache_from=where))[1]) == [True, True, True]
        _, heard = await site.build(lambda base: run(run(base, "echo built > /built"), "true"), cache_from=where)
        assert heard.is_cached("RUN echo built > /built") == (mode == "max")

    machine.run(export)
    machine.another().run(use)


def test_a_cache_that_is_not_there_is_told_and_done_without(machine: Machine, registry: Registry) -> None:
    (machine.context / "file").write_text("content")
    where = (CacheLocation("registry", {"ref": f"{registry.host}/nothing:1"}),)

    async def scenario(site: Site) -> None:
        _, heard = await site.build(steps, cache_from=where)
        told = heard.vertices(f"importing cache manifest from {registry.host}/nothing:1")
        assert "not found" in told[-1].error
        assert cached(heard) == [False, False, False]

    machine.run(scenario)
