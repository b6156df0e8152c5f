"""The frontend's entry: reads the Dockerfile of a request, and makes of it a graph for each platform, or an answer.

`# syntax=` and BUILDKIT_SYNTAX may name a frontend image; whatever they name, this one is used.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Error, InvalidArgument
from ...images.config import Platform
from ..frontend import Bridge, Request, Result
from ..graph import digest_of
from ..progress import Warning
from . import outline
from .checks import Finding
from .convert import Converted, convert
from .errors import DockerfileError
from .lint import lint
from .options import Options, read_options
from .sources import Sources
from .subrequests import DESCRIBE, LINT, OUTLINE, TARGETS


async def build(request: Request, bridge: Bridge) -> Result:
    """Raises the engine's errors, DockerfileError where a line of the file is meant."""
    return await build_observed(request, bridge, lambda converted: None)


async def build_observed(request: Request, bridge: Bridge, observe: Callable[[Converted], None]) -> Result:
    """Do it for somebody who wants to know more of it than the graph."""
    options = read_options(request.options)
    question = request.options.get("requestid", "")
    if question == DESCRIBE:
        return Result((), outline.describe())
    sources = Sources(request, bridge)
    await sources.start()
    source = await sources.dockerfile()
    try:
        text = source.decode(errors="replace")
        if question:
            return Result((), await _answer(question, text, source, options, sources, bridge))
        return await _images(text, source, options, sources, bridge, observe)
    except DockerfileError as error:
        error.filename, error.source = sources.filename, source
        raise


async def _images(
    text: str,
    source: bytes,
    options: Options,
    sources: Sources,
    bridge: Bridge,
    observe: Callable[[Converted], None],
) -> Result:
    def report(finding: Finding) -> None:
        bridge.warn(_warning(finding, sources, source))

    images = []
    platforms: tuple[Platform | None, ...] = options.platforms or (None,)
    for platform in platforms:
        # What is wrong for one platform is wrong for all, and told once.
        tell = report if platform is platforms[0] else _ignore
        converted = await convert(text, options, sources, bridge, platform=platform, report=tell)
        observe(converted)
        images.append(converted.image)
    return Result(tuple(images), filename=sources.filename, source=source, source_step=sources.dockerfile_step)


async def _answer(
    question: str, text: str, source: bytes, options: Options, sources: Sources, bridge: Bridge
) -> dict[str, bytes]:
    platform = options.platforms[0] if options.platforms else None
    if question == TARGETS:
        return dict(outline.targets(text, source))
    if question == OUTLINE:
        converted = await convert(text, options, sources, bridge, platform=platform, report=_ignore)
        return dict(outline.outline(converted.target, source))
    if question != LINT:
        raise InvalidArgument(f"unsupported request {question}")
    findings: list[Finding] = []
    failure: Error | None = None
    try:
        await convert(
            text, options, sources, bridge, platform=platform, report=findings.append,
            wants_all_stages=not options.target,
        )  # fmt: skip
    except Error as error:
        failure = error
    return dict(lint(findings, failure, filename=sources.filename, source=source))


def _ignore(finding: Finding) -> None:
    pass


def _warning(finding: Finding, sources: Sources, source: bytes) -> Warning:
    first = finding.location.first
    line = f" (line {first})" if first else ""
    return Warning(
        rule=finding.rule.name,
        message=f"{finding.rule.name}: {finding.message}{line}",
        url=finding.rule.url,
        detail=(finding.rule.description,),
        locations=(finding.location,),
        source=source,
        filename=sources.filename,
        vertex=digest_of(sources.dockerfile_step),
    )
