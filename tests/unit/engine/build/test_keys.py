"""What a step is known by in the cache: what decides its result, and nothing that is only shown."""

from __future__ import annotations

from dataclasses import replace

from lightship.engine.build.graph import BindMount, Copy, ImageSource, Limits, LocalSource, Run, Step
from lightship.engine.build.keys import image_key, own_definition
from lightship.engine.images.config import Platform

HERE = Platform("linux", "amd64")
BASE = ImageSource("busybox", HERE, name="FROM")
RUN = Run(BASE, ("true",), ("A=b",), "/", "", HERE, name="RUN true")


def test_names_inputs_limits_and_proxies_do_not_count() -> None:
    for other in (
        replace(RUN, name="another"),
        replace(RUN, base=None),
        replace(RUN, is_cacheless=True),
        replace(RUN, limits=Limits(memory_bytes=1)),
        replace(RUN, env=("A=b", "HTTP_PROXY=http://proxy")),
    ):
        assert own_definition(other) == own_definition(RUN)
    for other in (replace(RUN, args=("false",)), replace(RUN, env=("A=c",)), replace(RUN, network="none")):
        assert own_definition(other) != own_definition(RUN)


def test_where_a_mount_is_counts_and_its_source_is_an_input() -> None:
    def mounted(target: str, source: Step | None) -> str:
        return own_definition(replace(RUN, mounts=(BindMount(target, source),)))

    assert mounted("/a", BASE) == mounted("/a", None) != mounted("/b", None)


def test_a_copy_is_the_same_from_whichever_session() -> None:
    one, two = (Copy(BASE, LocalSource("context", unique, name=""), ("/a",), "/", name="") for unique in "12")
    assert one.digest != two.digest and own_definition(one) == own_definition(two)
    assert own_definition(replace(one, mode="755")) != own_definition(one)


def test_an_image_is_known_by_its_layers() -> None:
    layers = [f"sha256:{n * 64}" for n in "ab"]
    assert image_key(layers, "sha256:1") == image_key(layers, "sha256:2")
    assert image_key([], "sha256:1") != image_key([], "sha256:2")
    assert image_key(layers, "") != image_key(layers[::-1], "")
