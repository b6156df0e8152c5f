"""What `-v`, `--mount`, `--tmpfs` and `--volumes-from` say: any text is read or refused, and reads back."""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from lightship.engine.containers import mount_syntax
from lightship.engine.errors import InvalidArgument
from lightship.openapi.types.mounts import Mount

names = st.from_regex(r"[a-z0-9][a-z0-9_.-]{1,12}", fullmatch=True)
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
modes = st.sets(st.sampled_from(["ro", "z", "cached"])).map(lambda words: ",".join(sorted(words)))
nearly = st.text(alphabet=":/.,=aroz ~\0é", max_size=16)


@given(source=paths | names, target=paths, mode=modes)
def test_a_bind_reads_back(source: str, target: str, mode: str) -> None:
    parsed = mount_syntax.parse_bind(f"{source}:{target}:{mode}")
    assert (parsed.source, parsed.destination, parsed.mode) == (source, target, mode)
    assert parsed.type == ("bind" if source.startswith("/") else "volume")
    assert parsed.read_only == ("ro" in mode.split(","))


@given(nearly)
def test_any_text_is_a_bind_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        parsed = mount_syntax.parse_bind(text)
        assert parsed.destination.startswith("/") and parsed.destination != "/"
        assert parsed.destination == mount_syntax.clean(parsed.destination)


@given(nearly)
def test_any_text_names_volumes_of_a_container_or_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        ref, _ = mount_syntax.parse_volumes_from(text)
        assert text.startswith(ref)


@given(
    st.fixed_dictionaries(
        {"Type": st.sampled_from(["bind", "volume", "tmpfs", "image", "cluster", "x", ""])},
        optional={
            "Source": paths | names | nearly,
            "Target": paths | nearly,
            "ReadOnly": st.booleans(),
            "BindOptions": st.fixed_dictionaries(
                {}, optional={"Propagation": st.sampled_from(["", "rslave", "x"]), "NonRecursive": st.booleans()}
            ),
            "VolumeOptions": st.fixed_dictionaries({}, optional={"NoCopy": st.booleans(), "Subpath": nearly}),
            "TmpfsOptions": st.fixed_dictionaries({}, optional={"SizeBytes": st.integers(), "Mode": st.integers()}),
        },
    )
)
def test_any_mount_is_taken_or_refused(fields: dict[str, Any]) -> None:
    with contextlib.suppress(InvalidArgument, msgspec.ValidationError):
        spec = msgspec.convert(fields, Mount)
        parsed = mount_syntax.parse_mount(spec, source_must_exist=False)
        assert parsed.destination.startswith("/") and parsed.type in ("bind", "volume", "tmpfs", "image", "cluster")
