from __future__ import annotations

from lightship.engine.ids import matching_prefix, new_id, short_id


def test_new_ids_are_docker_ids() -> None:
    ids = {new_id() for _ in range(200)}
    assert len(ids) == 200
    assert all(len(each) == 64 and int(each, 16) >= 0 and not each[:12].isdecimal() for each in ids)


def test_short_id_drops_the_algorithm() -> None:
    assert short_id("sha256:" + "ab" * 32) == "abababababab"


def test_two_matches_tell_that_a_prefix_is_ambiguous() -> None:
    assert matching_prefix(["abc", "abd", "abe", "x"], "ab") == ["abc", "abd"]
    assert matching_prefix(["abc"], "b") == []
