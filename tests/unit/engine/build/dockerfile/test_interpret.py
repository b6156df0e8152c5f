"""Instructions and their flags, as BuildKit reads and refuses them."""

from __future__ import annotations

import pytest
from lightship.engine.build.dockerfile import instructions as typed
from lightship.engine.build.dockerfile.checks import Checks, Choice
from lightship.engine.build.dockerfile.errors import DockerfileError
from lightship.engine.build.dockerfile.interpret import stages
from lightship.engine.build.dockerfile.parser import parse
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.config import Health


def read(line: str) -> typed.Instruction:
    found, _ = stages(parse(f"FROM a\n{line}").nodes, Checks(Choice(), lambda finding: None))
    return found[-1].instructions[0] if found[-1].instructions else found[-1].start


def test_copy() -> None:
    instruction = read(
        "COPY --from=b --chown=1:2 --chmod=u+x --link --parents --exclude=*.a --exclude=b c <<E d/\nx\nE"
    )
    assert isinstance(instruction, typed.Copy)
    assert (instruction.from_, instruction.chown, instruction.chmod) == ("b", "1:2", "u+x")
    assert (instruction.is_link, instruction.keeps_parents, instruction.exclude) == (True, True, ("*.a", "b"))
    assert (instruction.paths, instruction.destination) == (("c",), "d/")
    assert [(document.name, document.content) for document in instruction.documents] == [("E", "x\n")]


def test_add() -> None:
    instruction = read("ADD --checksum=x --keep-git-dir --unpack=false a b")
    assert isinstance(instruction, typed.Add)
    assert (instruction.checksum, instruction.keeps_git_dir, instruction.unpacks) == ("x", True, False)


def test_run() -> None:
    instruction = read("RUN --network=none --security=insecure --mount=type=tmpfs,target=/a --mount=target=/b echo")
    assert isinstance(instruction, typed.Run)
    assert (instruction.network, instruction.is_insecure, instruction.needs_shell) == ("none", True, True)
    assert instruction.mounts == ("type=tmpfs,target=/a", "target=/b")


def test_from() -> None:
    found, global_args = stages(
        parse("ARG a=1\n# b is the base\nFROM --platform=$x img AS B").nodes, Checks(Choice(), lambda finding: None)
    )
    start = found[0].start
    assert (start.base, start.stage, start.platform, start.description) == ("img", "b", "$x", "is the base")
    assert global_args[0].arguments == (typed.Argument("a", "1"),)


def test_healthcheck() -> None:
    instruction = read('HEALTHCHECK --interval=1s --retries=2 CMD ["a"]')
    assert isinstance(instruction, typed.Healthcheck)
    assert instruction.health == Health(["CMD", "a"], interval=1_000_000_000, retries=2)


def test_onbuild_keeps_its_heredocs() -> None:
    instruction = read("ONBUILD RUN <<E\na\nE")
    assert isinstance(instruction, typed.Onbuild)
    assert instruction.trigger == "RUN <<E\na\nE"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("FORM a", "unknown instruction: FORM (did you mean FROM?)"),
        ("rum a", "unknown instruction: rum (did you mean run?)"),
        ("NOTHING", "unknown instruction: NOTHING"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 1", 'invalid name for build stage: "1", name can\'t start with a number or contain symbols'),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY --form=a b c", "unknown flag: --form (did you mean from?)"),
        ("COPY --from b c", "missing a value on flag: --from"),
        ("COPY --link= b c", "missing a value on flag: --link"),
        ("COPY --link=x b c", "expecting boolean value for flag --link, not: x"),
        ("COPY --from=a --from=b b c", "duplicate flag specified: --from"),
        ("COPY a <<E\nx\nE", "COPY cannot accept a heredoc as a destination"),
        ("RUN --network=x a", 'invalid network mode "x"'),
        ("RUN --security=x a", 'security "x" is not valid'),
        (
            "RUN --mount=type=bind,from=$a,target=/x b",
            "'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("SHELL a", "SHELL requires the arguments to be in JSON form"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =x", "ARG names can not be blank"),
        ("ENV =x", "ENV names can not be blank"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ('VOLUME [""]', "VOLUME specified can not be an empty string"),
        ("HEALTHCHECK NONE a", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK A b", 'Unknown type "A" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --retries=-1 CMD a", "--retries cannot be negative (-1)"),
        ("ONBUILD FROM a", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN a", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
    ],
)
def test_refused(line: str, message: str) -> None:
    with pytest.raises(DockerfileError) as error:
        read(line)
    assert str(error.value) == f"dockerfile parse error on line 2: {message}"
    assert error.value.locations[0].first == 2


def test_nothing_but_arg_stands_before_from() -> None:
    with pytest.raises(InvalidArgument) as error:
        stages(parse("RUN a").nodes, Checks(Choice(), lambda finding: None))
    assert str(error.value) == "no build stage in current context"
