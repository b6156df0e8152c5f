"""`--change`: the instructions, as dockerd 28 applies and refuses them."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.changes import apply_changes
from lightship.engine.images.config import Health, RunConfig
from msgspec.structs import replace

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["CMD echo hi", 'ENTRYPOINT ["a","b"]'], RunConfig(cmd=["/bin/sh", "-c", "echo hi"], entrypoint=["a", "b"])),
        (["ENTRYPOINT a b", 'CMD ["x"]'], RunConfig(cmd=["x"], entrypoint=["/bin/sh", "-c", "a b"])),
        (["CMD ['x']"], RunConfig(cmd=["/bin/sh", "-c", "['x']"])),
        (["CMD"], RunConfig(cmd=["/bin/sh", "-c"])),
        (["CMD []"], RunConfig(cmd=[])),
        (["ENTRYPOINT []"], RunConfig()),
        (["cmd echo lower"], RunConfig(cmd=["/bin/sh", "-c", "echo lower"])),
        (["# comment", "CMD a \\", "  b"], RunConfig(cmd=["/bin/sh", "-c", "a   b"])),
        (
            ['ENV A=1 B="x y" C=$A', "ENV D=${A}-x", "ENV OLD style value here"],
            RunConfig(env=["A=1", "B=x y", "C=", "D=1-x", "OLD=style value here"]),
        ),
        (["ENV A=a\\ b B='$A'"], RunConfig(env=["A=a b", "B=$A"])),
        (["ENV A=1", "ENV A=2"], RunConfig(env=["A=2"])),
        (
            ["EXPOSE 80 443/udp 1000-1002"],
            RunConfig(
                exposed_ports={port: {} for port in ("1000/tcp", "1001/tcp", "1002/tcp", "443/udp", "80/tcp")}
            ),
        ),
        (['LABEL a=b c="d e" "f g"=h'], RunConfig(labels={"a": "b", "c": "d e", "f g": "h"})),
        (["LABEL a b c"], RunConfig(labels={"a": "b c"})),
        (["ONBUILD RUN echo hi"], RunConfig(on_build=["RUN echo hi"])),
        (["USER foo:bar"], RunConfig(user="foo:bar")),
        (["USER a b"], RunConfig(user="a b")),
        (["VOLUME /a /b", 'VOLUME ["/c","/d"]'], RunConfig(volumes={"/a": {}, "/b": {}, "/c": {}, "/d": {}})),
        (["WORKDIR /a", "WORKDIR b/../c"], RunConfig(working_dir="/a/c")),
        (["WORKDIR rel"], RunConfig(working_dir="/rel")),
        (
            [
                "HEALTHCHECK --interval=5s --timeout=1m --retries=3 --start-period=1s --start-interval=2s CMD echo hi",
            ],
            RunConfig(
                healthcheck=Health(["CMD-SHELL", "echo hi"], 5 * SECOND, 60 * SECOND, SECOND, 2 * SECOND, 3)
            ),
        ),
        (["HEALTHCHECK NONE"], RunConfig(healthcheck=Health(["NONE"]))),
        (['HEALTHCHECK CMD ["a","b"]'], RunConfig(healthcheck=Health(["CMD", "a", "b"]))),
        (["STOPSIGNAL SIGKILL"], RunConfig(stop_signal="SIGKILL")),
        (["STOPSIGNAL 9"], RunConfig(stop_signal="9")),
        (
            [
                "ENV A=1", "LABEL x=$A", "USER ${A:-z}", "WORKDIR /$B/${B:-q}", "VOLUME /$A", "EXPOSE $A",
                "STOPSIGNAL $A",
            ],
            RunConfig(
                env=["A=1"], labels={"x": "1"}, user="1", working_dir="/q", volumes={"/1": {}},
                exposed_ports={"1/tcp": {}}, stop_signal="1",
            ),
        ),
    ],
)  # fmt: skip
def test_changes(changes: list[str], expected: RunConfig) -> None:
    assert apply_changes(RunConfig(), changes) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", "file with no instructions"),
        ('CMD ["x", 3]', "when using JSON array syntax, arrays must be comprised of strings only"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV =x", "ENV names can not be blank"),
        ("ENV a=b c", 'Syntax error - can\'t find = in "c". Must be of the form: name=value'),
        ('ENV A="un', 'failed to process "\\"un": unexpected end of statement while looking for matching double-quote'),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("EXPOSE foo", "Invalid containerPort: foo"),
        ("EXPOSE 80/foo", "Invalid proto: foo"),
        ("EXPOSE 99999", "Invalid containerPort: 99999"),
        ("LABEL", "LABEL requires at least one argument"),
        ("LABEL a", "LABEL must have two arguments"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("USER", "USER requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("STOPSIGNAL FOO", "invalid signal: FOO"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK FOO", 'Unknown type "FOO" in HEALTHCHECK (try CMD)'),
        ("HEALTHCHECK --foo=5 CMD x", "unknown flag: --foo"),
        ("HEALTHCHECK --interval=5 CMD x", 'time: missing unit in duration "5"'),
        ("HEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("RUN foo", "RUN is not a valid change command"),
        ("FROM x", "FROM is not a valid change command"),
        ('SHELL ["x"]', "SHELL is not a valid change command"),
    ],
)
def test_refused_changes(change: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        apply_changes(RunConfig(), [change])
    assert str(error.value) == message


def test_the_config_given_is_not_altered() -> None:
    config = RunConfig(env=["A=1"], labels={"a": "b"})
    changed = apply_changes(config, ["ENV A=2", "LABEL a=c"])
    assert (config.env, config.labels) == (["A=1"], {"a": "b"})
    assert (changed.env, changed.labels) == (["A=2"], {"a": "c"})


FIELDS = {
    "ENV": "env",
    "LABEL": "labels",
    "CMD": "cmd",
    "EXPOSE": "exposed_ports",
    "VOLUME": "volumes",
    "HEALTHCHECK": "healthcheck",
    "WORKDIR": "working_dir",
}


@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=40))
def test_any_text_is_applied_or_refused(instruction: str, rest: str) -> None:
    """Applied, it changes what it is to change alone, to what an image's config can hold."""
    try:
        changed = apply_changes(RunConfig(), [f"{instruction} {rest}"])
    except InvalidArgument as error:
        assert str(error)
        return
    assert replace(changed, **{FIELDS[instruction]: None}) == RunConfig()
    assert msgspec.json.decode(msgspec.json.encode(changed), type=RunConfig) == changed
