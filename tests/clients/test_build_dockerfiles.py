"""Dockerfiles that use what BuildKit added, each built through buildx and looked into."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD


@dataclass
class Case:
    """`command` in the image prints `output`. `files` are the context's, by path.

    `is_newer`: dockerd 28 has it only in frontends that it would have to download.
    """

    dockerfile: str
    command: str
    output: str
    files: dict[str, str] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    is_newer: bool = False


CASES = {
    "heredocs": Case(
        """\
FROM busybox
ARG NAME=world
COPY <<-ONE <<"TWO" /texts/
\thello $NAME
\tand "all"
ONE
keeps $NAME
TWO
RUN <<EOF
set -e
cd /texts
cat ONE TWO > both
EOF
RUN <<EOF cat >> /texts/both
appended
EOF
COPY <<EOF /bin/script
#!/bin/sh
echo ran \\$1
EOF
RUN chmod +x /bin/script && script it >> /texts/both
""",
        "cat /texts/both",
        'hello world\nand "all"\nkeeps $NAME\nappended\nran it',
    ),
    "script in a heredoc": Case(
        "FROM busybox\nRUN <<EOF\n#!/bin/sh\necho $0 > /two\nEOF\n",
        "cat /two",
        "/dev/pipes/EOF",
    ),
    "variables": Case(
        """\
FROM busybox
ARG SEMVER=1.22.333-rc1
ARG EMPTY=
ENV MAJOR=${SEMVER%%.*} REST=${SEMVER#*.} TAIL=${SEMVER##*.} HEAD=${SEMVER%.*} \\
    FIRST=${SEMVER/2/x} EVERY=${SEMVER//2/x} DEFAULT=${NONE:-d} SET=${SEMVER:+yes} UNSET=${EMPTY:+yes} KEPT=${EMPTY-k}
RUN echo "$MAJOR|$REST|$TAIL|$HEAD|$FIRST|$EVERY|$DEFAULT|$SET|$UNSET|$KEPT" > /out
""",
        "cat /out",
        "1|22.333-rc1|333-rc1|1.22|1.x2.333-rc1|1.xx.333-rc1|d|yes||",
    ),
    "parents and exclude": Case(
        """\
FROM busybox
COPY --parents src/a/one.txt src/./b/two.txt /p/
COPY --exclude=*.log --exclude=**/skip src /e
""",
        "cd /p; find . -type f | sort; cd /e; find . -type f | sort",
        "./b/two.txt\n./src/a/one.txt\n./a/one.txt\n./b/two.txt",
        {"src/a/one.txt": "1", "src/b/two.txt": "2", "src/x.log": "l", "src/b/skip": "s"},
        is_newer=True,
    ),
    "modes and links": Case(
        """\
FROM busybox
COPY --chmod=u=rwx,go=r a/one.txt /symbolic
COPY --chmod=4750 --chown=12:13 a/one.txt /octal
COPY --link a /linked/deep/
ADD --unpack=false packed.tar /kept/
""",
        "stat -c %a:%u:%g /symbolic /octal; ls /linked/deep /kept",
        "744:0:0\n4750:12:13\n/kept:\npacked.tar\n\n/linked/deep:\none.txt",
        {"a/one.txt": "1", "packed.tar": ""},
    ),
    "a frontend that is named is the one that is there": Case(
        "# syntax=docker/dockerfile:1\nFROM busybox\nRUN echo built > /in\n", "cat /in", "built", is_newer=True
    ),
    "mounts": Case(
        """\
FROM busybox AS tools
RUN echo tool > /tool
FROM busybox
WORKDIR /w
RUN --mount=type=bind,target=/ctx --mount=type=bind,from=tools,source=/tool,target=/t \\
    --mount=type=tmpfs,target=/scratch,size=1m \\
    cat /ctx/file /t > both; touch /ctx/no 2>/dev/null || echo readonly >> both; df -k /scratch | tail -1 \\
    | awk '{print $2}' >> both
RUN --mount=target=rel,rw echo gone > rel/written; ls rel >> both
RUN ls -d /ctx /t /scratch rel 2>/dev/null | wc -l >> both
""",
        "cat /w/both",
        "file\ntool\nreadonly\n1024\nDockerfile\nfile\nwritten\n0",
        {"file": "file\n"},
    ),
    "stages": Case(
        """\
FROM busybox AS base
ENV FROM_BASE=1
WORKDIR /base
FROM base AS left
RUN echo left$FROM_BASE > out
FROM base AS right
RUN echo right > out
FROM never-there AS unused
RUN false
FROM scratch AS files
COPY --from=left /base/out /l
COPY --from=right /base/out /r
FROM base
COPY --from=files / /all/
COPY --from=busybox /bin/busybox /again
ONBUILD RUN false
""",
        "cat /all/l /all/r; pwd; ls /again",
        "left1\nright\n/base\n/again",
    ),
    "platform arguments": Case(
        """\
FROM --platform=$BUILDPLATFORM busybox AS tool
ARG TARGETPLATFORM TARGETARCH BUILDOS
RUN echo "$TARGETPLATFORM $TARGETARCH $BUILDOS" > /p
FROM busybox
COPY --from=tool /p /p
""",
        "cat /p",
        "linux/amd64 amd64 linux",
        flags=("--platform", "linux/amd64"),
    ),
    "backtick": Case(
        "# escape=`\nFROM busybox\nENV A=a`\nb\nRUN echo \"$A\" `\n  '\\n' > /out\n",
        "cat /out",
        "ab \\n",
    ),
    "exec form and another shell": Case(
        """\
FROM busybox
RUN ["sh", "-c", "echo $0 > /one", "first"]
SHELL ["/bin/ash", "-ec"]
RUN false || echo second > /two; \\
    # a comment inside
    echo third >> /two
""",
        "cat /one /two",
        "first\nsecond\nthird",
    ),
    "users": Case(
        """\
FROM busybox
RUN echo 'ann:x:70:71::/home:/bin/sh' >> /etc/passwd; echo 'crew:x:72:' >> /etc/group; mkdir -m 777 /open
USER ann:crew
WORKDIR /open/made
RUN id -u > who; id -g >> who
COPY --chown=ann file kept
USER 0
RUN stat -c %u:%g /open/made /open/made/who /open/made/kept > /owners
""",
        "cat /open/made/who /owners",
        "70\n72\n70:72\n70:72\n70:71",
        {"file": "x"},
    ),
}


@pytest.fixture
def buildx(docker: Docker, tmp_path: Path) -> Docker:
    return docker.with_plugins(tmp_path / "client", "buildx")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path / "project"


def write(directory: Path, dockerfile: str, files: dict[str, str] | None = None) -> str:
    directory.mkdir(exist_ok=True)
    for name, content in {"Dockerfile": dockerfile, **(files or {})}.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return str(directory)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_dockerfiles(buildx: Docker, project: Path, name: str, case: Case) -> None:
    if case.is_newer and ON_DOCKERD:
        pytest.skip("dockerd would have to download a newer frontend")
    directory = write(project, case.dockerfile, case.files)
    buildx.ok("build", "-q", "-t", name, *case.flags, directory)
    assert buildx.ok("run", "--rm", name, "sh", "-c", case.command) == case.output


def test_history_and_configuration(buildx: Docker, project: Path, name: str) -> None:
    dockerfile = """\
FROM busybox
ARG A=1
ENV B=$A
RUN true
COPY file /to/
WORKDIR /w
EXPOSE 80
CMD echo hi
"""
    directory = write(project, dockerfile, {"file": "f"})
    buildx.ok("build", "-q", "-t", name, "--label", "l=1", directory)
    lines = buildx.ok("history", "--no-trunc", "--format", "{{.CreatedBy}}|{{.Comment}}", name).splitlines()[:7]
    assert lines == [
        f"{created_by}|buildkit.dockerfile.v0"
        for created_by in (
            'CMD ["/bin/sh" "-c" "echo hi"]', "EXPOSE [80/tcp]", "WORKDIR /w", "COPY file /to/ # buildkit",
            "RUN |1 A=1 /bin/sh -c true # buildkit", "ENV B=1", "ARG A=1",
        )
    ]  # fmt: skip
    found = json.loads(buildx.ok("image", "inspect", name))[0]
    assert found["Config"]["Labels"] == {"l": "1"}
    assert found["Config"]["ArgsEscaped"] is True


def test_archives_are_unpacked(buildx: Docker, project: Path, name: str) -> None:
    directory = Path(write(project, "FROM busybox\nADD packed.tar.gz /a\nCOPY packed.tar.gz /b/\n"))
    with tarfile.open(directory / "packed.tar.gz", "w:gz") as tar:
        member = tarfile.TarInfo("in/side")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    buildx.ok("build", "-q", "-t", name, str(directory))
    assert buildx.ok("run", "--rm", name, "sh", "-c", "cat /a/in/side; ls /b") == "abcpacked.tar.gz"


def test_a_cache_mount_lasts_between_builds(buildx: Docker, project: Path, name: str) -> None:
    dockerfile = f"""\
FROM busybox
ARG RUN
RUN --mount=type=cache,id={name},target=/cache echo $RUN >> /cache/n; cp /cache/n /n
"""
    directory = write(project, dockerfile)
    for lines in ("1", "1\n2"):
        buildx.ok("build", "-q", "--build-arg", f"RUN={lines[-1]}", "-t", name, directory)
        assert buildx.ok("run", "--rm", name, "cat", "/n") == lines


@pytest.mark.skipif(ON_DOCKERD, reason="the images are the same there, too, but layers of the second are left behind")
def test_source_date_epoch_makes_builds_the_same(buildx: Docker, project: Path, name: str) -> None:
    directory = write(project, "FROM busybox\nCOPY file /\nWORKDIR /w\n", {"file": "x"})
    build = ("build", "-q", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000", "-t")
    first, second = (buildx.ok(*build, f"{name}{which}", directory) for which in "ab")
    assert first == second
    assert json.loads(buildx.ok("image", "inspect", first))[0]["Created"] == "1970-01-01T00:16:40Z"


@pytest.mark.parametrize(
    ("dockerfile", "message", "lines"),
    [
        ("FROM busybox\nRUN --mount=type=cahce,target=/x true\n",
         'unsupported mount type "cahce" (did you mean cache?)', ">>> RUN --mount"),
        ("FROM busybox\n\nCOPPY a b\n",
         "dockerfile parse error on line 3: unknown instruction: COPPY (did you mean COPY?)", ">>> COPPY a b"),
        ("FROM busybox\nCOPY --from=later /a /b\nFROM busybox AS later\nCOPY --from=0 /b /c\n",
         "circular dependency detected on stage: ", ">>> COPY --from=later /a /b"),
        ("FROM busybox\nENV A=${B?has to be there}\n", "Syntax error - can't find = in", ">>> ENV A="),
        ("FROM busybox\nRUN <<EOF\ntrue\n", "unterminated heredoc", ">>> RUN <<EOF"),
        ("# check=error=true\nFROM busybox\nMAINTAINER me\n", "lint violation found for rules: MaintainerDeprecated",
         ""),
    ],
)  # fmt: skip
def test_mistakes_are_shown(buildx: Docker, project: Path, dockerfile: str, message: str, lines: str) -> None:
    result = buildx("build", "--progress=plain", write(project, dockerfile))
    assert result.code == 1
    assert message in result.err
    assert lines in result.err
