"""Build checks, and the answers of `--check` and `--call`."""

from __future__ import annotations

import json

import pytest
from lightship.engine.build.dockerfile import rules
from lightship.engine.build.dockerfile.checks import Choice, parse_choice
from lightship.engine.build.dockerfile.rules import Rule
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.config import ImageConfig

from .bridge import BASE, Bridge, run

DOCS = "https://docs.docker.com/go/dockerfile/rule/"


def found(dockerfile: str, *, ignore: bytes = b"", images: dict[str, ImageConfig] | None = None) -> list[str]:
    """The warnings, each with its line."""
    context = {".dockerignore": ignore} if ignore else {}
    bridge = Bridge({"dockerfile": {"Dockerfile": dockerfile.encode()}, "context": context}, images or {})
    run(dockerfile, bridge=bridge)
    return [warning.message for warning in bridge.warnings]


@pytest.mark.parametrize(
    ("dockerfile", "warning"),
    [
        ("FROM a AS Big", "StageNameCasing: Stage name 'Big' should be lowercase (line 1)"),
        ("FROM a as b", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"),
        ("FROM a\nRUN b \\\n\n c", "NoEmptyContinuation: Empty continuation line (line 4)"),
        ("FROM a\nRUN b\nuser c",
         "ConsistentInstructionCasing: Command 'user' should match the case of the command majority"
         " (uppercase) (line 3)"),
        ("FROM a AS b\nFROM a AS b", 'DuplicateStageName: Duplicate stage name "b", stage names should be'
         ' unique (line 2)'),
        ("FROM a AS context",
         'ReservedStageName: Stage name should not use the same name as reserved stage "context" (line 1)'),
        ("FROM a\nCMD b", "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended"
         " behavior related"
         " to OS signals (line 2)"),
        ("FROM a\nMAINTAINER b",
         "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)"),
        ("ARG image=a\nFROM ${image:-$imag}",
         "UndefinedArgInFrom: FROM argument 'imag' is not declared (did you mean image?) (line 2)"),
        ("FROM a\nWORKDIR b",
         'WorkdirRelativePath: Relative workdir "b" can have unexpected results if the base image changes (line 2)'),
        ("FROM a\nUSER $PAHT", "UndefinedVar: Usage of undefined variable '$PAHT' (did you mean $PATH?) (line 2)"),
        ('FROM a\nCMD ["b"]\nCMD ["c"]', "MultipleInstructionsDisallowed: Multiple CMD instructions should"
         " not be used in"
         " the same stage because only the last one will be used (line 2)"),
        ("FROM a\nENV b c", 'LegacyKeyValueFormat: "ENV key=value" should be used instead of legacy "ENV key value"'
         " format (line 2)"),
        ("FROM --platform=$TARGETPLATFORM a", "RedundantTargetPlatform: Setting platform to predefined"
         " $TARGETPLATFORM in"
         " FROM is redundant as this is the default behavior (line 1)"),
        ("FROM a\nARG API_KEY", "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data"
         ' (ARG "API_KEY") (line 2)'),
        ("FROM --platform=linux/amd64 a",
         'FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value "linux/amd64" (line 1)'),
        ("FROM a\nEXPOSE 80/TCP",
         "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)"),
        ("FROM a\nEXPOSE 1.2.3.4:80:80", "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or"
         " host-port mapping, found '1.2.3.4:80:80' (line 2)"),
    ],
)  # fmt: skip
def test_findings(dockerfile: str, warning: str) -> None:
    assert found(dockerfile) == [warning]


@pytest.mark.parametrize(
    "dockerfile",
    [
        'FROM a AS b\nARG C=1\nWORKDIR /x\nWORKDIR y\nENV PUBLIC_KEY=$C KEY_FILE=a\nENTRYPOINT ["b"]\nUSER $C',
        "ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V AS b",
        'FROM a\nSHELL ["/x"]\nCMD b',
        "FROM --platform=linux/amd64 a AS amd64",
        "# check=skip=all\nFROM a AS B\nCMD c",
        "FROM a\n# check=skip=JSONArgsRecommended\nCMD b",
        "# what it is not\nFROM a AS b",
    ],
)
def test_nothing_is_found(dockerfile: str) -> None:
    assert found(dockerfile) == []


def test_experimental_rules_are_asked_for() -> None:
    warning = "InvalidDefinitionDescription: Comment for FROM should follow the format: `# b <description>` (line 3)"
    assert found("# check=experimental=all\n# nothing\nFROM a AS b") == [warning]


def test_a_default_that_makes_no_name() -> None:
    with pytest.raises(InvalidArgument):
        found("ARG V\nFROM $V")
    bridge = Bridge({"dockerfile": {"Dockerfile": b"ARG V\nFROM a:$V"}})
    run("", {"build-arg:V": "1"}, bridge=bridge)
    assert [warning.rule for warning in bridge.warnings] == ["InvalidDefaultArgInFrom"]


def test_files_that_are_ignored() -> None:
    message = 'CopyIgnoredFile: Attempting to Copy file "a/b" that is excluded by .dockerignore (line 2)'
    assert found("FROM x\nCOPY a/b c /d/", ignore=b"a") == [message]
    assert found("FROM x\nCOPY a /d/", ignore=b"a\n!a/b") == []
    assert found("FROM x\nCOPY . /d/", ignore=b"a") == []


def test_a_base_of_another_platform() -> None:
    other = ImageConfig(os="linux", architecture="arm64", rootfs=BASE.rootfs)
    (message,) = found("FROM o", images={"o": other})
    assert message == (
        'InvalidBaseImagePlatform: Base image o was pulled with platform "linux/arm64", expected "linux/amd64" for'
        " current build (line 1)"
    )


def test_warnings_of_several_platforms_are_told_once() -> None:
    bridge = Bridge({"dockerfile": {"Dockerfile": b"FROM a\nCMD b"}})
    run("", {"platform": "linux/amd64,linux/arm64"}, bridge=bridge)
    (warning,) = bridge.warnings
    assert (warning.rule, warning.url) == ("JSONArgsRecommended", f"{DOCS}json-args-recommended/")
    assert (warning.filename, warning.source, warning.level) == ("Dockerfile", b"FROM a\nCMD b", 1)
    assert warning.vertex.startswith("sha256:")


def test_findings_can_be_errors() -> None:
    with pytest.raises(InvalidArgument, match="^lint violation found for rules: JSONArgsRecommended, StageNameCasing$"):
        found("# check=error=true\nFROM a AS B\nCMD c")
    with pytest.raises(InvalidArgument, match="lint violation"):
        run("FROM a\nCMD b", {"build-arg:BUILDKIT_DOCKERFILE_CHECK": "error=true"})


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("", Choice()),
        ("skip=A, B;error=1", Choice(skip=frozenset({"A", "B"}), is_error=True)),
        ("experimental=all", Choice(experimental=frozenset({"all"}))),
    ],
)
def test_choices(text: str, choice: Choice) -> None:
    assert parse_choice(text) == choice


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("skip", 'invalid check option "skip"'),
        ("x=y", 'invalid check option "x"'),
        ("error=x", 'failed to parse check option "error=x": strconv.ParseBool: parsing "x": invalid syntax'),
    ],
)
def test_choices_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_choice(text)
    assert str(error.value) == message


def test_addresses_of_rules() -> None:
    urls = {rule.name: rule.url for rule in vars(rules).values() if isinstance(rule, Rule)}
    assert len(urls) == 22
    assert urls["JSONArgsRecommended"] == f"{DOCS}json-args-recommended/"
    assert urls["FromPlatformFlagConstDisallowed"] == f"{DOCS}from-platform-flag-const-disallowed/"
    assert urls["InvalidBaseImagePlatform"] == ""


def test_check() -> None:
    answer = run("FROM a AS x\nRUN b\nFROM missing\nCMD c", {"requestid": "frontend.lint"}).metadata
    document = json.loads(answer["result.json"])
    assert document["warnings"] is None
    assert document["buildError"] == {
        "message": "missing: docker.io/library/missing:latest: not found",
        "location": {"ranges": [{"start": {"line": 3}, "end": {"line": 3}}]},
    }
    assert (answer["result.statuscode"], answer["version"]) == (b"1", b"1.0.0")


def test_check_shows_lines() -> None:
    answer = run("FROM a\nRUN b\nCMD c\n", {"requestid": "frontend.lint"}).metadata
    (warning,) = json.loads(answer["result.json"])["warnings"]
    assert (warning["ruleName"], warning["location"]["ranges"][0]["start"]) == ("JSONArgsRecommended", {"line": 3})
    assert answer["result.txt"].decode() == (
        f"\nWARNING: JSONArgsRecommended - {DOCS}json-args-recommended/\n"
        "JSON arguments recommended for CMD to prevent unintended behavior related to OS signals\nDockerfile:3\n"
        "--------------------\n   1 |     FROM a\n   2 |     RUN b\n   3 | >>> CMD c\n   4 |    "
        " \n--------------------\n"
    )


def test_check_of_a_dockerfile_without_findings() -> None:
    answer = run("FROM a", {"requestid": "frontend.lint"}).metadata
    assert (answer["result.txt"], answer["result.statuscode"]) == (b"", b"0")


def test_targets() -> None:
    answer = run("# one is first\nFROM a AS one\nFROM b", {"requestid": "frontend.targets"}).metadata
    assert answer["result.txt"].decode() == "TARGET    DESCRIPTION\none       is first\n(default) \n"
    first, last = json.loads(answer["result.json"])["targets"]
    assert (first["name"], first["base"], first["description"], last["default"]) == ("one", "a", "is first", True)


def test_outline() -> None:
    dockerfile = (
        "# V is the version\nARG V=1\nARG UNUSED\nFROM a:$V AS base\nARG TOKENS=2\n"
        "RUN --mount=type=secret,id=s,required --mount=type=ssh,id=k x\n# last is all\nFROM base AS last\nARG V"
    )
    answer = run(dockerfile, {"requestid": "frontend.outline"}).metadata
    assert answer["result.txt"].decode() == (
        "TARGET:      last\nDESCRIPTION: is all\n\n"
        "BUILD ARG   VALUE   DESCRIPTION\nV           1       is the version\nTOKENS      2       \n\n"
        "SECRET   REQUIRED\ns        true\n\nSSH   REQUIRED\nk     \n\n"
    )
    document = json.loads(answer["result.json"])
    assert [entry["name"] for entry in document["args"]] == ["V", "TOKENS"]
    assert document["secrets"][0]["required"] is True


def test_what_can_be_asked() -> None:
    answer = run("", {"requestid": "frontend.subrequests.describe"}).metadata
    names = [entry["name"] for entry in json.loads(answer["result.json"])]
    assert names == ["frontend.outline", "frontend.targets", "frontend.subrequests.describe"]
    with pytest.raises(InvalidArgument, match="unsupported request frontend.x"):
        run("FROM a", {"requestid": "frontend.x"})
