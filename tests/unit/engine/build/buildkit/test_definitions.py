"""LLB to the graph: sources, results that come back, and what is refused."""

from __future__ import annotations

import asyncio

import pytest
from lightship.engine.build.buildkit import definitions
from lightship.engine.build.buildkit.protocol.llb_pb2 import (
    Definition,
    Input,
    Opaque,
    Operation,
    OperationMetadata,
    SourceOperation,
)
from lightship.engine.build.frontend import ResolvedImage
from lightship.engine.build.graph import GitSource, HttpSource, ImageSource, Layout, LocalSource, ResultSource, Step
from lightship.engine.errors import InvalidArgument, NotImplemented
from lightship.engine.images.config import ImageConfig, Platform


class Images:
    async def resolve_image(self, reference: str, platform: Platform, *, layout: Layout | None = None) -> ResolvedImage:
        return ResolvedImage(f"{reference}@sha256:{'1' * 64}", ImageConfig(), b"{}")


def step(definition: Definition) -> Step | None:
    return asyncio.run(definitions.to_step(definition, Images(), "session"))


def source(identifier: str, name: str = "", **attributes: str) -> Definition:
    named = {key.replace("_", "."): value for key, value in attributes.items()}
    encoded = Operation(source=SourceOperation(identifier=identifier, attributes=named)).SerializeToString()
    digest = definitions._digest(encoded)
    end = Operation(inputs=[Input(digest=digest)]).SerializeToString()
    metadata = {digest: OperationMetadata(description={"llb.customname": name})}
    return Definition(operations=[encoded, end], metadata=metadata)


def test_a_result_comes_back():
    assert step(definitions.of_result("abc")) == ResultSource("abc", name="lightship-result://abc")


def test_nothing_is_scratch():
    assert step(Definition()) is None


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (
            source("docker-image://docker.io/library/busybox:latest", "busybox"),
            ImageSource(f"docker.io/library/busybox:latest@sha256:{'1' * 64}", Platform.of_host(), name="busybox"),
        ),
        (
            source("git://github.com/a/b.git#main:sub", git_fullurl="git@github.com:a/b.git", git_keepgitdir="true"),
            GitSource("git@github.com:a/b.git", "main", "sub", True, name="git://github.com/a/b.git#main:sub"),
        ),
        (
            source("oci-layout://a", oci_store="kept", oci_session="other"),
            ImageSource(
                f"a@sha256:{'1' * 64}",
                Platform.of_host(),
                Layout("oci:kept", "other"),
                name="oci-layout://a",
            ),
        ),
        (
            source("https://host/file", "x", http_filename="f", http_checksum="sha256:1"),
            HttpSource("https://host/file", "sha256:1", "f", name="x"),
        ),
        (
            source("local://context", local_includepattern='["a","b"]', local_excludepatterns='["c"]'),
            LocalSource("context", "session", ("a", "b"), ("c",), name="local://context"),
        ),
    ],
)
def test_sources(definition, expected):
    found = step(definition)
    assert found == expected
    assert found.name == expected.name


def test_what_is_not_carried_out_says_so():
    encoded = Operation(exec=Opaque()).SerializeToString()
    end = Operation(inputs=[Input(digest=definitions._digest(encoded))]).SerializeToString()
    with pytest.raises(NotImplemented, match="exec"):
        step(Definition(operations=[encoded, end]))
    with pytest.raises(NotImplemented, match="docker-blob"):
        step(source("docker-blob://x"))


@pytest.mark.parametrize(
    "definition",
    [
        Definition(operations=[b"\xff\xff"]),
        Definition(operations=[Operation(inputs=[Input(digest="sha256:0")]).SerializeToString()]),
        source("local://context", local_includepattern="{"),
    ],
)
def test_nonsense_is_refused(definition):
    with pytest.raises(InvalidArgument):
        step(definition)
