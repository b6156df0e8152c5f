"""What the classic builder tells, from what the solver tells: in the Dockerfile's order, whatever happens first."""

from __future__ import annotations

import asyncio

import pytest
from lightship.engine.build.classic.narrator import Narrator
from lightship.engine.build.dockerfile.convert import Converted
from lightship.engine.build.dockerfile.frontend import build_observed
from lightship.engine.build.frontend import BuiltImage, Request, ResolvedImage
from lightship.engine.build.graph import Layout, Step, ancestry
from lightship.engine.build.progress import Log, Status, Vertex
from lightship.engine.images.config import ImageConfig, Platform, RootFS, RunConfig

IMAGE = "sha256:" + "9" * 64


class Bridge:
    def __init__(self, dockerfile: str, triggers: list[str]) -> None:
        self._dockerfile, self._triggers = dockerfile, triggers

    async def resolve_image(self, reference: str, platform: Platform, *, layout: Layout | None = None) -> ResolvedImage:
        config = ImageConfig(
            os="linux", architecture="amd64", rootfs=RootFS(diff_ids=["sha256:" + "a" * 64]),
            config=RunConfig(on_build=self._triggers or None),
        )  # fmt: skip
        return ResolvedImage(reference, config, b"{}")

    async def read_file(self, source: Step, path: str) -> bytes | None:
        return self._dockerfile.encode() if path == "Dockerfile" else None

    async def is_directory(self, source: Step, path: str) -> bool:
        return False

    def warn(self, warning: object) -> None:
        pass


class Told:
    """A build that a test plays."""

    def __init__(self, dockerfile: str, *, triggers: list[str] | None = None, keeps_containers: bool = False) -> None:
        self.messages: list[dict[str, object]] = []
        self.narrator = Narrator(self.messages.append, keeps_containers=keeps_containers)
        found: list[Converted] = []
        bridge = Bridge(dockerfile, triggers or [])
        asyncio.run(build_observed(Request({}, "u"), bridge, found.append))
        self.image: BuiltImage = found[0].image
        self._converted = found[0]

    def begin(self, *labels: str) -> None:
        self.narrator.begin(self._converted, labels)

    def step(self, part: str) -> Step:
        return next(step for step in ancestry(self.image.step) if part in step.name)

    def start(self, part: str) -> None:
        step = self.step(part)
        self.narrator.hear(Vertex(step.digest, step.name, started_ns=1))

    def complete(self, part: str, *, is_cached: bool = False) -> None:
        step = self.step(part)
        self.narrator.hear(Vertex(step.digest, step.name, started_ns=1, completed_ns=2, is_cached=is_cached))

    def log(self, part: str, data: bytes, stream: int = 1) -> None:
        self.narrator.hear(Log(self.step(part).digest, stream, data))

    @property
    def text(self) -> str:
        return "".join(str(message.get("stream", "")) for message in self.messages)

    def short(self, part: str) -> str:
        return self.step(part).digest[7:19]


BASE = "44136fa355b3"  # of the digest of the config above


def test_output_of_a_later_step_waits() -> None:
    told = Told("FROM a AS x\nRUN one\nFROM a\nRUN two\nCOPY --from=x /f /")
    told.begin()
    told.start("RUN two")
    told.log("RUN two", b"2\n")
    assert told.text == "Step 1/5 : FROM a AS x\n"
    told.start("RUN one")
    told.log("RUN one", b"1\n")
    assert told.text.endswith(f" ---> {BASE}\nStep 2/5 : RUN one\n ---> Running in {told.short('RUN one')}\n1\n")
    told.complete("RUN one")
    told.log("RUN two", b"more\n")
    one, two = told.short("RUN one"), told.short("RUN two")
    assert told.text.endswith(
        f" ---> Removed intermediate container {one}\n ---> {one}\nStep 3/5 : FROM a\n ---> {BASE}\n"
        f"Step 4/5 : RUN two\n ---> Running in {two}\n2\nmore\n"
    )


def test_the_last_id_is_the_images() -> None:
    told = Told("FROM a\nRUN one")
    told.begin()
    told.complete("RUN one", is_cached=True)
    told.narrator.finish(IMAGE)
    assert told.text == (
        f"Step 1/2 : FROM a\n ---> {BASE}\nStep 2/2 : RUN one\n ---> Using cache\n ---> 999999999999\n"
    )


def test_configuration_is_as_cached_as_what_is_around_it() -> None:
    told = Told("FROM a\nENV A=1\nRUN one\nENV B=1\nRUN two\nENV C=1")
    told.begin()
    told.complete("RUN one", is_cached=True)
    told.start("RUN two")
    told.complete("RUN two")
    told.narrator.finish(IMAGE)
    lines = told.text.split("Step ")[1:]
    assert ["Using cache" in line for line in lines] == [False, True, True, True, False, False]


def test_labels_of_the_request_are_a_step() -> None:
    told = Told("FROM a\nENV A=1")
    told.begin("x=y", "z=1")
    told.narrator.finish(IMAGE)
    assert told.text == (
        f"Step 1/3 : FROM a\n ---> {BASE}\nStep 2/3 : ENV A=1\n ---> {BASE}\n"
        "Step 3/3 : LABEL x=y z=1\n ---> 999999999999\n"
    )


def test_triggers_have_no_steps() -> None:
    told = Told("FROM a\nRUN two", triggers=["RUN one"])
    told.begin()
    told.complete("RUN one", is_cached=True)
    told.complete("RUN two", is_cached=True)
    told.narrator.finish(IMAGE)
    assert told.text == (
        f"Step 1/2 : FROM a\n ---> {BASE}\n# Executing 1 build trigger\n ---> Using cache\n"
        f" ---> {told.short('RUN one')}\nStep 2/2 : RUN two\n ---> Using cache\n ---> 999999999999\n"
    )


def test_errors_are_red_and_characters_whole() -> None:
    told = Told("FROM a\nRUN one")
    told.begin()
    told.start("RUN one")
    told.log("RUN one", "é".encode()[:1])
    told.log("RUN one", "é".encode()[1:])
    told.log("RUN one", b"bad\n", stream=2)
    assert [message["stream"] for message in told.messages[-2:]] == ["é", "\x1b[91mbad\n\x1b[0m"]


def test_a_failure_shows_what_was_written() -> None:
    told = Told("FROM a AS x\nRUN one\nFROM a\nRUN two\nCOPY --from=x /f /")
    told.begin()
    told.start("RUN two")
    told.log("RUN two", b"words\n")
    line = told.narrator.fail(told.step("RUN two").name)
    assert line is not None
    assert line.text == "RUN two"
    assert told.text.endswith(f"Step 4/5 : RUN two\n ---> Running in {told.short('RUN two')}\nwords\n")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (("sha256:" + "c" * 64, 5, 10), {"status": "Downloading", "id": "c" * 12}),
        (("extracting sha256:" + "c" * 64, 0, 0), {"status": "Extracting", "id": "c" * 12}),
    ],
)
def test_a_pull_is_told_while_it_lasts(status: tuple[str, int, int], message: dict[str, str]) -> None:
    told = Told("FROM a\nRUN one")
    told.begin()
    told.start("FROM")
    told.narrator.hear(Status(told.step("FROM").digest, status[0], status[1], status[2]))
    assert {key: told.messages[-1][key] for key in message} == message
    assert "--->" not in told.text
