"""Graphs and images that Dockerfiles come to."""

from __future__ import annotations

import pytest
from lightship.engine.build.dockerfile.errors import DockerfileError
from lightship.engine.build.graph import (
    BindMount,
    CacheMount,
    Copy,
    GitSource,
    HttpSource,
    ImageSource,
    LocalSource,
    Location,
    MakeDirectory,
    Owner,
    Run,
    SecretMount,
    SshMount,
    TmpfsMount,
    Ulimit,
    WriteFiles,
)
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.config import History, ImageConfig, Platform, RootFS, RunConfig

from .bridge import BASE, Bridge, history, image, names, run, steps

DIGEST = f"@sha256:{'b' * 64}"


def test_the_steps_of_a_stage_are_numbered_and_named() -> None:
    built = image("FROM busybox\nENV A=b\nWORKDIR /w\nCOPY $A x\nRUN echo $A 'c'\nrun [\"x\"]")
    assert names(built) == [
        f"[1/5] FROM docker.io/library/busybox:latest{DIGEST}",
        "[2/5] WORKDIR /w",
        "[internal] load build context",
        "[3/5] COPY b x",
        "[4/5] RUN echo b 'c'",
        '[5/5] RUN ["x"]',
    ]
    assert steps(built)[4].locations == (Location(5, 5),)


def test_stages_have_their_names_and_only_needed_ones_are_there() -> None:
    built = image("FROM a AS one\nRUN 1\nFROM a AS two\nRUN 2\nFROM a\nCOPY --from=one /x /\nCOPY --from=0 /y /")
    assert [name for name in names(built) if "FROM" not in name] == [
        "[one 2/2] RUN 1",
        "[stage-2 2/3] COPY --from=one /x /",
        "[stage-2 3/3] COPY --from=0 /y /",
    ]


def test_a_target_ends_the_build() -> None:
    assert names(image("FROM a AS one\nRUN 1\nFROM one\nRUN 2", {"target": "ONE"}))[-1] == "[one 2/2] RUN 1"


def test_configuration_and_history() -> None:
    built = image(
        "FROM busybox\nARG X=1\nARG Y\nENV A=b C='d e'\nLABEL l=1 m\\ n=2\nEXPOSE 80/UDP 90-91\nVOLUME /v\nUSER u\n"
        'STOPSIGNAL 9\nSHELL ["/sh", "-e"]\nCMD a "b"\nENTRYPOINT ["/e"]\nHEALTHCHECK --interval=90s CMD x\n'
        "MAINTAINER me\nONBUILD RUN 1\nWORKDIR a\nRUN make $X",
        {"label:z": "y"},
    )
    config = built.config.config
    assert config == RunConfig(
        env=["PATH=/bin", "A=b", "C=d e"], labels={"l": "1", "m n": "2", "z": "y"},
        exposed_ports={"80/udp": {}, "90/tcp": {}, "91/tcp": {}}, volumes={"/v": {}}, user="u", stop_signal="9",
        shell=["/sh", "-e"], cmd=["/sh", "-e", 'a "b"'], entrypoint=["/e"], args_escaped=True, on_build=["RUN 1"],
        healthcheck=config.healthcheck if config else None, working_dir="/a",
    )  # fmt: skip
    assert built.config.author == "me"
    assert history(built) == [
        ("ARG X=1", False), ("ARG Y", False), ("ENV A=b C=d e", False), ("LABEL l=1 m n=2", False),
        ("EXPOSE [80/udp 90/tcp 91/tcp]", False), ("VOLUME [/v]", False), ("USER u", False), ("STOPSIGNAL 9", False),
        ("SHELL [/sh -e]", False), ('CMD ["/sh" "-e" "a \\"b\\""]', False), ('ENTRYPOINT ["/e"]', False),
        ("HEALTHCHECK {Test:[CMD-SHELL x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:0}", False),
        ("MAINTAINER me", False), ("WORKDIR /a", True), ("RUN |2 X=1 Y= /sh -e make $X # buildkit", True),
    ]  # fmt: skip
    assert {entry.comment for entry in built.config.history or ()} == {"buildkit.dockerfile.v0"}


def test_an_entrypoint_drops_the_command_of_the_base() -> None:
    base = ImageConfig(os="linux", architecture="amd64", rootfs=RootFS(), config=RunConfig(cmd=["x"]))
    (built,) = run('FROM b\nENTRYPOINT ["/e"]', images={"b": base}).images
    assert built.config.config is not None
    assert built.config.config.cmd is None


def test_scratch_and_images_without_layers_are_nothing() -> None:
    assert image("FROM scratch\nLABEL a=b").step is None
    empty = ImageConfig(os="linux", architecture="amd64", rootfs=RootFS(), history=[History(empty_layer=True)])
    assert run("FROM e", images={"e": empty}).images[0].step is None


def test_run() -> None:
    (_, step) = steps(
        image(
            "FROM a\nARG B=1\nENV C=2\nUSER u\nRUN --network=none --security=insecure x", {
                "build-arg:HTTP_PROXY": "p", "add-hosts": "h=1.2.3.4", "ulimit": "nofile=1:2,nproc=3", "memory": "7",
                "shm-size": "8", "hostname": "me", "cgroup-parent": "/g", "no-cache": "",
            }
        )
    )  # fmt: skip
    assert isinstance(step, Run)
    assert step.args == ("/bin/sh", "-c", "x")
    # Build arguments that nobody declared reach commands only where they are proxies.
    assert step.env == ("PATH=/bin", "B=1", "C=2", "HTTP_PROXY=p", "http_proxy=p")
    assert (step.cwd, step.user, step.network, step.is_insecure) == ("/", "u", "none", True)
    assert (step.hostname, step.extra_hosts, step.is_cacheless) == ("me", (("h", "1.2.3.4"),), True)
    assert step.limits.ulimits == (Ulimit("nofile", 1, 2), Ulimit("nproc", 3, 3))
    assert (step.limits.memory_bytes, step.limits.shm_size_bytes, step.limits.cgroup_parent) == (7, 8, "/g")


def test_mounts() -> None:
    built = image(
        "FROM a AS b\nFROM a\nWORKDIR /w\nENV T=cache\nRUN --mount=type=$T,target=c,id=x,sharing=locked,mode=700,uid=3 "
        "--mount=type=bind,from=b,source=s,target=/b,rw --mount=target=/ctx --mount=type=tmpfs,target=/t,size=1k "
        "--mount=type=secret,id=k,env=K --mount=type=secret,source=f,required --mount=type=ssh x"
    )
    step = steps(built)[-1]
    assert isinstance(step, Run)
    cache, bind, context, tmpfs, variable, secret, ssh = step.mounts
    assert cache == CacheMount("/w/c", "/x", "locked", mode=0o700, uid=3)
    assert isinstance(bind, BindMount)
    assert (bind.target, bind.path, bind.is_readonly) == ("/b", "/s", False)
    assert isinstance(bind.source, ImageSource)
    assert isinstance(context, BindMount)
    assert isinstance(context.source, LocalSource)
    assert tmpfs == TmpfsMount("/t", 1024)
    assert variable == SecretMount("k", "", "K")
    assert secret == SecretMount("f", "/run/secrets/f", is_required=True)
    assert ssh == SshMount("default")
    assert step.name.endswith("--mount=type=ssh x")


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "name"),
    [
        ("RUN <<E\na $X\nb\nE", ("/bin/sh", "-c", "a $X\nb\n"), "RUN <<E (a $X...)"),
        ("RUN cat <<E > x\na\nE", ("/bin/sh", "-c", "cat <<E > x\na\nE"), "RUN cat <<E > x"),
        ("RUN <<E\n#!/bin/x\na\nE", ("/bin/sh", "-c", "/dev/pipes/E"), "RUN <<E (#!/bin/x...)"),
    ],
)
def test_run_of_heredocs(dockerfile: str, arguments: tuple[str, ...], name: str) -> None:
    step = steps(image(f"FROM a\n{dockerfile}"))[-1]
    assert isinstance(step, Run)
    assert step.args == arguments
    assert step.name.partition("] ")[2] == name


def test_a_script_in_a_heredoc_is_a_file_for_its_command() -> None:
    script = steps(image("FROM a\nRUN <<-E\n\t#!/bin/x\n\ta\nE"))[1]
    assert isinstance(script, WriteFiles)
    assert (script.base, script.mode, [file.data for file in script.files]) == (None, "0755", ["#!/bin/x\na\n"])


def test_copy() -> None:
    step = steps(image("FROM a\nWORKDIR /w\nCOPY --chown=1:g --chmod=644 --exclude=*.o --link a/ /b ../c d/"))[-1]
    assert isinstance(step, Copy)
    assert (step.paths, step.destination, step.owner, step.mode) == (
        ("/a", "/b", "/c"),
        "/w/d/",
        Owner("1", "g"),
        "644",
    )
    assert (step.exclude, step.is_link, step.unpacks) == (("*.o",), True, False)


def test_the_context_is_asked_for_what_is_needed() -> None:
    def follow(dockerfile: str) -> tuple[str, ...]:
        return next(step.follow for step in steps(image(dockerfile)) if isinstance(step, LocalSource))

    assert follow("FROM a\nCOPY a/../b /c* d/\nRUN --mount=source=e,target=/e x") == ("b", "c*", "e")
    assert follow("FROM a\nCOPY a b\nCOPY . c") == ()


def test_add_unpacks_archives_unless_told_not_to() -> None:
    found = [step.unpacks for step in steps(image("FROM a\nADD b c\nADD --unpack=false d e")) if isinstance(step, Copy)]
    assert found == [True, False]


def test_add_of_remote_sources() -> None:
    digest = f"sha256:{'c' * 64}"
    found = steps(
        image(f"FROM a\nADD --checksum={digest} https://h/f.tgz?x=1 /d/\nADD --keep-git-dir git@h:r.git#ref:sub /e")
    )
    assert found[1] == HttpSource(
        "https://h/f.tgz?x=1", digest, "f.tgz", name=found[1].name, locations=found[1].locations
    )
    assert isinstance(found[2], Copy)
    assert (found[2].paths, found[2].unpacks) == (("/f.tgz",), False)
    assert found[3] == GitSource("git@h:r.git", "ref", "sub", keep_git_dir=True, name=found[3].name)


def test_copy_of_heredocs() -> None:
    step = steps(image("FROM a\nARG X=1\nCOPY <<A <<'B' /d/\n$X \"q\"\nA\n$X\nB"))[-1]
    assert isinstance(step, WriteFiles)
    assert [(file.name, file.data) for file in step.files] == [("A", '1 "q"\n'), ("B", "$X\n")]


def test_parents_keep_their_pivot() -> None:
    step = steps(image("FROM a\nCOPY --parents a/./b/../c d /e/"))[-1]
    assert isinstance(step, Copy)
    assert (step.paths, step.keeps_parents) == (("/a/./c", "/d"), True)


def test_workdir_is_made_for_the_user() -> None:
    built = image("FROM a\nUSER u:g\nWORKDIR b\nWORKDIR ../c\nWORKDIR /")
    made = [step for step in steps(built) if isinstance(step, MakeDirectory)]
    assert [(step.path, step.owner) for step in made] == [("/b", Owner("u", "g")), ("/c", Owner("u", "g"))]
    assert history(built)[-1] == ("WORKDIR /", False)


def test_arguments() -> None:
    dockerfile = (
        "ARG V=1\nARG W=${V}2\nFROM img:$W AS a\nARG V\nARG U=$V-$W\nLABEL v=$V u=$U\n"
        "FROM a\nLABEL again=$V\nFROM scratch\nLABEL none=[$V]"
    )
    bridge = Bridge({"dockerfile": {"Dockerfile": dockerfile.encode()}})
    (built,) = run(dockerfile, {"target": "a", "build-arg:V": "9"}, bridge=bridge).images
    assert bridge.asked == [("docker.io/library/img:92", "linux/amd64")]
    assert built.config.labels == {"v": "9", "u": "9-"}
    assert image(dockerfile).config.labels == {"none": "[]"}


def test_platforms() -> None:
    dockerfile = "FROM --platform=$BUILDPLATFORM a AS b\nARG TARGETARCH\nRUN $TARGETARCH\nFROM c\nCOPY --from=b x y"
    bridge = Bridge({"dockerfile": {"Dockerfile": dockerfile.encode()}})
    found = run(dockerfile, {"platform": "linux/amd64,linux/arm64/v8"}, bridge=bridge).images
    assert [str(built.platform) for built in found] == ["linux/amd64", "linux/arm64"]
    assert bridge.asked[-2:] == [
        ("docker.io/library/a:latest", "linux/amd64"),
        ("docker.io/library/c:latest", "linux/arm64"),
    ]
    assert "[linux/amd64->arm64 b 2/2] RUN arm64" in names(found[1])
    assert (found[1].config.architecture, found[1].config.variant) == ("arm64", None)


def test_triggers_of_an_image_run_first() -> None:
    base = ImageConfig(
        os="linux", architecture="amd64", rootfs=BASE.rootfs, config=RunConfig(on_build=["COPY --from=x a b", "RUN 1"])
    )
    (built,) = run("FROM a AS x\nFROM onb\nRUN 2", images={"onb": base}).images
    assert [name for name in names(built) if "FROM" not in name] == [
        "[stage-1 2/4] ONBUILD COPY --from=x a b",
        "[stage-1 3/4] ONBUILD RUN 1",
        "[stage-1 4/4] RUN 2",
    ]
    assert built.config.config is not None
    assert built.config.config.on_build is None


def test_triggers_of_a_stage_run_in_those_that_stand_on_it() -> None:
    assert names(image("FROM a AS b\nONBUILD RUN 1\nFROM b\nRUN 2"))[1:] == [
        "[stage-1 1/2] ONBUILD RUN 1",
        "[stage-1 2/2] RUN 2",
    ]


def test_source_date_epoch() -> None:
    built = image("FROM a\nWORKDIR /w\nCOPY a b", {"build-arg:SOURCE_DATE_EPOCH": "1000"})
    assert built.config.created == "1970-01-01T00:16:40Z"
    assert {entry.created for entry in built.config.history or ()} == {"1970-01-01T00:16:40Z"}
    assert [step.created_at for step in steps(built) if isinstance(step, Copy | MakeDirectory)] == [1000, 1000]


def test_no_cache_for_some_stages() -> None:
    found = steps(image("FROM a AS x\nRUN 1\nFROM a AS y\nCOPY --from=x b c\nRUN 2", {"no-cache": "X"}))
    assert [step.is_cacheless for step in found if isinstance(step, Run)] == [True, False]


def test_named_contexts() -> None:
    git, local, http = "https://h/r.git#m", "local:src", "https://h/f"
    dockerfile = "FROM base\nCOPY --from=g a /\nCOPY --from=l b /\nCOPY --from=h context /\nCOPY --from=o c /"
    found = steps(
        image(
            dockerfile, {"context:base": "docker-image://other:1", "context:g": git, "context:l": local,
            "context:h": http,            "context:o::linux/amd64": "docker-image://amd"},
        )
    )  # fmt: skip
    sources = [step for step in found if not isinstance(step, Copy)]
    assert [type(step) for step in sources] == [ImageSource, GitSource, LocalSource, HttpSource, ImageSource]
    assert [step.name for step in sources] == [
        "[context base] other:1", f"[context g] {git}", "[context l] load from client", f"[context h] {http}",
        "[context o::linux/amd64] amd",
    ]  # fmt: skip
    assert isinstance(sources[2], LocalSource)
    assert (sources[2].local, sources[2].follow) == ("src", ("b",))


def test_a_stage_can_be_replaced_by_a_context() -> None:
    found = steps(image("FROM a AS s\nRUN 1\nFROM scratch\nCOPY --from=s x /", {"context:s": "local:dir"}))
    assert [type(step) for step in found] == [LocalSource, Copy]


def test_inputs_stand_in_for_local_sources() -> None:
    given = GitSource("https://h/r.git", name="given")
    (built,) = run(
        "FROM scratch\nCOPY a b\nCOPY --from=i c d", {"context:i": "input:i"}, inputs={"context": given, "i": given}
    ).images
    assert [step for step in steps(built) if not isinstance(step, Copy)] == [given]


def test_remote_contexts() -> None:
    bridge = Bridge({"https://h/r.git": {}, "https://h/f": {"context": b"FROM scratch\nCOPY context /"}})
    (built,) = run("", {"context": "https://h/f"}, bridge=bridge).images
    assert [type(step) for step in steps(built)] == [HttpSource, Copy]


def test_ignore_files_limit_the_context() -> None:
    def excluded(**files: bytes) -> tuple[str, ...]:
        dockerfile = {
            "Dockerfile": b"FROM scratch\nCOPY a b",
            **{k: v for k, v in files.items() if k != ".dockerignore"},
        }
        bridge = Bridge({"dockerfile": dockerfile, "context": files})
        found = steps(run("", bridge=bridge).images[0])
        return next(step.exclude for step in found if isinstance(step, LocalSource))

    assert excluded(**{".dockerignore": b"# c\n/x/ \n! x/y\n"}) == ("x", "!x/y")
    assert excluded(**{".dockerignore": b"x", "Dockerfile.dockerignore": b"z"}) == ("z",)


def test_a_small_dockerfile_is_found_too() -> None:
    bridge = Bridge({"dockerfile": {"dockerfile": b"FROM scratch\nLABEL a=b"}})
    assert run("", bridge=bridge).images[0].config.labels == {"a": "b"}


@pytest.mark.parametrize(
    ("dockerfile", "message", "lines"),
    [
        ("FROM missing", "missing: docker.io/library/missing:latest: not found", [1]),
        ("FROM busybos\nFROM missing", "missing: docker.io/library/missing:latest: not found", [2]),
        ("FROM A:b",
         'failed to parse stage name "A:b": invalid reference format: repository name (library/A) must'
         ' be lowercase', [1]),
        ("FROM $X", "base name ($X) should not be blank", [1]),
        ("FROM --platform=$X a", "empty platform value from expression $X", [1]),
        ("FROM a AS b\nCOPY --from=c x y\nFROM a AS c\nCOPY --from=b x y",
         "circular dependency detected on stage:"
         " b", [2, 4]),
        ("FROM a AS x\nCOPY --from=b x y\nFROM a AS b",
         'cannot copy from stage "b", it needs to be defined before current stage'
         ' "x"', [2]),
        ("FROM a\nCOPY --from=$X x y",
         "variable expansion is not supported for --from, define a new stage with FROM using ARG from"
         " global scope as a workaround", []),
        ("FROM a\nCOPY --from=3 x y", "invalid stage index 3", []),
        ("FROM a\nRUN --mount=type=x,target=/y z", 'unsupported mount type "x"', [2]),
        ("FROM a\nRUN --mount=type=cahce,target=/y z", 'unsupported mount type "cahce" (did you mean cache?)', [2]),
        ("FROM a\nRUN --device=x,y=z w", "dockerfile parse error on line 2: unexpected key 'y' in 'y=z'", [2]),
        ("FROM a\nRUN --mount=target=/ z", 'invalid mount target "/"', [2]),
        ("FROM a\nRUN --mount=type=secret z", "invalid secret mount. one of source, target required", [2]),
        ("FROM a\nCOPY --chmod=999 x y",
         "invalid chmod parameter: '999'. it should be octal string and between 0 and"
         " 07777", [2]),
        ("FROM a\nCOPY https://h/f y", "source can't be a URL for COPY", [2]),
        ("FROM a\nCOPY git@h:r.git y", "source can't be a git ref for COPY", [2]),
        ("FROM a\nADD --checksum=x a b", "checksum requires HTTP(S) or Git sources", [2]),
        ("FROM a\nEXPOSE 80/x", 'invalid port: "80/x": invalid proto: x', [2]),
        ("FROM a\nEXPOSE 99999", "invalid containerPort: 99999", [2]),
        ("FROM a\nSTOPSIGNAL x", "invalid signal: x", [2]),
        ("FROM a\nENV A=${B:?missing}", 'failed to process "${B:?missing}": B: missing', [2]),
    ],
)  # fmt: skip
def test_mistakes_have_their_lines(dockerfile: str, message: str, lines: list[int]) -> None:
    with pytest.raises(InvalidArgument) as error:
        image(dockerfile, {"target": "x"} if " AS x" in dockerfile else None)
    assert str(error.value) == message
    found = error.value.locations if isinstance(error.value, DockerfileError) else ()
    assert sorted(location.first for location in found) == lines


def test_a_target_that_there_is_not() -> None:
    with pytest.raises(InvalidArgument) as error:
        image("FROM a AS base", {"target": "bas"})
    assert str(error.value) == 'target stage "bas" could not be found (did you mean base?)'


def test_a_dockerfile_that_there_is_not() -> None:
    with pytest.raises(InvalidArgument) as error:
        run("", {"filename": "sub/Other"}, bridge=Bridge({}))
    assert str(error.value) == "failed to read dockerfile: open Other: no such file or directory"


def test_an_error_knows_the_file() -> None:
    with pytest.raises(DockerfileError) as error:
        image("FROM a\nRUN --x y")
    assert (error.value.filename, error.value.source) == ("Dockerfile", b"FROM a\nRUN --x y")


def test_unneeded_images_are_not_looked_up() -> None:
    dockerfile = "FROM missing AS x\nFROM a"
    bridge = Bridge({"dockerfile": {"Dockerfile": dockerfile.encode()}})
    run(dockerfile, bridge=bridge)
    assert [reference for reference, _ in bridge.asked] == ["docker.io/library/a:latest"]


def test_platform_of_a_cross_build() -> None:
    (built,) = run("FROM scratch\nLABEL a=b", {"platform": "linux/arm/v7"}).images
    assert (built.platform, built.config.architecture, built.config.variant) == (
        Platform("linux", "arm", "v7"),
        "arm",
        "v7",
    )
