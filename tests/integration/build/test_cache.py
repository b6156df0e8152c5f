"""The build cache: what it shows, what prune leaves, what is kept by whom."""

from __future__ import annotations

import asyncio
from pathlib import Path

from harness.builds import Machine, Site, context, run
from harness.waiting import LIMIT_S
from lightship.engine.build.graph import CacheMount, Copy, Step
from lightship.engine.build.request import Keep
from lightship.engine.filters import Filters

EVERYTHING = Keep()


def test_usage_and_prune(machine: Machine) -> None:
    (machine.context / "file").write_text("x" * 5000)

    def steps(base: Step) -> Step:
        step = Copy(base, context(), ("/file",), "/", name="COPY")
        return run(step, "head -c 3000 /dev/zero > /cache/a; cp /file /again", mounts=(CacheMount("/cache", "id"),))

    async def scenario(site: Site) -> None:
        builds = site.engine.builds
        await site.build(steps)
        found = {usage.type: usage for usage in await builds.disk_usage(Filters())}
        assert found.keys() == {"regular", "source.local", "exec.cachemount"}
        assert found["exec.cachemount"].size == 3000 and "with id id" in found["exec.cachemount"].description
        regular = [usage for usage in await builds.disk_usage(Filters()) if usage.type == "regular"]
        assert [usage.size for usage in regular] == [5000, 5000]
        assert regular[1].parents == (regular[0].id,)
        assert all(usage.is_shared and not usage.is_in_use for usage in regular), "the image has them"
        removed = await builds.prune(Filters(), all=False, keep=EVERYTHING)
        assert {usage.type for usage in removed} == {"source.local", "exec.cachemount"}
        assert not any((site.engine.config.data_root / "build/directories").iterdir())
        removed = await builds.prune(Filters(), all=True, keep=EVERYTHING)
        assert [usage.size for usage in removed] == [5000, 5000]
        assert await builds.disk_usage(Filters()) == []
        image = site.engine.images.get_image("made")
        assert all(site.engine.snapshots.layer_path(layer).exists() for layer in image.diff_ids)

    machine.run(scenario)


def test_layers_go_with_their_records(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        before = len(site.engine.snapshots.layers())
        await site.solve(lambda base: run(run(base, "echo 1 > /one"), "echo 2 > /two"))
        assert len(site.engine.snapshots.layers()) == before + 2
        await site.engine.builds.prune(Filters(), all=False, keep=EVERYTHING)
        assert len(site.engine.snapshots.layers()) == before

    machine.run(scenario)


def test_an_images_cached_layers_are_used_after_the_image_is_gone(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        await site.build(lambda base: run(base, "echo 1 > /one"))
        await site.engine.images.remove("made")
        _, heard = await site.build(lambda base: run(base, "echo 1 > /one"))
        assert heard.is_cached("RUN echo 1 > /one")

    machine.run(scenario)


def test_limits_take_the_least_used_first(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        for name in ("old", "used", "new"):
            await site.solve(lambda base, name=name: run(base, f"head -c 10000 /dev/zero > /{name}"))
        await site.solve(lambda base: run(base, "head -c 10000 /dev/zero > /used"))
        await site.solve(lambda base: run(base, "head -c 10000 /dev/zero > /new"))
        removed = await site.engine.builds.prune(Filters(), all=False, keep=Keep(max_used_space=25_000))
        assert [usage.description for usage in removed] == ["RUN head -c 10000 /dev/zero > /old"]
        removed = await site.engine.builds.prune(Filters(), all=False, keep=Keep(duration_ns=3600 * 10**9))
        assert removed == []
        removed = await site.engine.builds.prune(Filters({"until": ["1h"]}), all=False, keep=EVERYTHING)
        assert removed == []
        removed = await site.engine.builds.prune(
            Filters({"description": ["RUN head -c 10000 /dev/zero > /used"]}), all=False, keep=EVERYTHING
        )
        assert len(removed) == 1

    machine.run(scenario)


def test_what_a_build_uses_is_not_pruned(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        await site.solve(lambda base: run(base, "echo 1 > /one"))
        mounts = (CacheMount("/c", "signs"),)
        command = "touch /c/here; until [ -e /c/go ]; do usleep 20000; done; cat /one"
        building = asyncio.create_task(site.solve(lambda base: run(run(base, "echo 1 > /one"), command, mounts=mounts)))
        async with asyncio.timeout(LIMIT_S):
            while not (here := list(site.engine.config.data_root.rglob("here"))):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert await site.engine.builds.prune(Filters(), all=True, keep=EVERYTHING) == []
        (here[0].parent / "go").touch()
        assert (await building).output(f"RUN {command}") == b"1\n"

    machine.run(scenario)


def test_what_was_not_on_disk_at_a_power_cut_is_made_again(machine: Machine) -> None:
    async def build(site: Site) -> None:
        await site.solve(lambda base: run(base, "echo 1 > /one"))
        await site.engine.builds.collector.collect()
        await site.solve(lambda base: run(run(base, "echo 1 > /one"), "echo 2 > /two"))
        boot = "UPDATE build_cache SET record = replace(record, ?, 'another boot')"
        site.engine.store.execute(boot, Path("/proc/sys/kernel/random/boot_id").read_text().strip())

    async def again(site: Site) -> None:
        heard = await site.solve(lambda base: run(run(base, "echo 1 > /one"), "echo 2 > /two"))
        assert [heard.is_cached(f"RUN echo {n}") for n in ("1 > /one", "2 > /two")] == [True, False]

    machine.run(build)
    machine.run(again)
