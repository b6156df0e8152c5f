"""The restart policy's rules and back-off, which are dockerd's."""

from __future__ import annotations

import pytest
from lightship.engine.shim.restart import RestartPolicy, should_restart


@pytest.mark.parametrize(
    ("policy", "exit_code", "stopped", "count", "restarts"),
    [
        (("no", 0), 1, False, 0, False),
        (("always", 0), 0, True, 9, True),
        (("unless-stopped", 0), 0, False, 9, True),
        (("unless-stopped", 0), 1, True, 0, False),
        (("on-failure", 0), 0, False, 0, False),
        (("on-failure", 0), 1, True, 99, True),
        (("on-failure", 3), 1, False, 2, True),
        (("on-failure", 3), 1, False, 3, False),
    ],
)
def test_rules(policy, exit_code, stopped, count, restarts):
    assert should_restart(*policy, exit_code=exit_code, stopped_by_user=stopped, count=count) is restarts


def test_the_delay_doubles_up_to_a_minute_and_begins_anew_after_ten_seconds():
    policy = RestartPolicy({"name": "always"})
    delays = [policy.next_delay(1, ran_s=0.5) for _ in range(12)]
    assert delays == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60.0, 60.0]
    assert policy.next_delay(1, ran_s=10) == 0.1
    assert policy.count == 13


def test_a_canceled_policy_restarts_nothing():
    policy = RestartPolicy({"name": "always"})
    policy.canceled = True
    assert policy.next_delay(1, ran_s=0) is None
    assert policy.count == 0


def test_a_forced_restart_needs_no_policy_and_happens_once():
    policy = RestartPolicy()
    policy.forced = True
    assert policy.next_delay(0, ran_s=20) == 0.1
    assert policy.next_delay(0, ran_s=20) is None


def test_the_count_goes_on_where_another_shim_ended():
    policy = RestartPolicy({"name": "on-failure", "maximum": 2, "count": 1})
    assert policy.next_delay(1, ran_s=0) == 0.1
    assert policy.next_delay(1, ran_s=0) is None
