"""A policy's limits on a run bind over all of its calls."""

import time
from collections.abc import Iterator

import pytest

from tests.endtoend.conftest import Gateway, gateway_of
from tests.endtoend.upstream import Upstream

POLICIES = """\
policy: thrifty
baseline: ok
run: [cost <= 0.0000001 USD]
---
policy: brief
baseline: ok
run: [time <= 300ms]
"""


@pytest.fixture(scope="module")
def limited(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("limited")
    (folder / "p.yaml").write_text(POLICIES)
    place = f"{{provider: vllm, url: '{upstream.url}', model: fx-ok, machine_hour: 100 USD}}"
    config = f"models:\n  ok:\n    deployments: [{place}]\npolicies: [p.yaml]\n"
    with gateway_of(config, folder) as found:
        yield found


def test_a_run_that_spent_its_budget_is_refused(limited: Gateway) -> None:
    """The first call may run, because its cost is not known yet; the next finds nothing left. Another run is not concerned."""
    mine = {"x-fw-policy": "thrifty", "x-fw-run": "r1"}
    assert limited.chat("auto", headers=mine).status == 200
    refused = limited.chat("auto", headers=mine)
    assert refused.status == 402
    assert refused.error["code"] == "budget_exceeded"
    assert limited.chat("auto", headers={**mine, "x-fw-run": "r2"}).status == 200


def test_a_run_whose_time_is_over_is_refused(limited: Gateway) -> None:
    """Time runs from the run's first call."""
    mine = {"x-fw-policy": "brief", "x-fw-run": "r3"}
    start = time.monotonic()
    assert limited.chat("auto", headers=mine).status == 200
    while time.monotonic() - start < 0.35:
        last = limited.chat("auto", headers=mine)
    last = limited.chat("auto", headers=mine)
    assert last.status == 504
    assert last.error["code"] == "deadline_exceeded"


def test_a_budget_in_the_header_binds_too(limited: Gateway) -> None:
    """What the caller says is left may be less than what the policy allows."""
    answer = limited.chat("auto", headers={"x-fw-policy": "brief", "x-fw-budget": "0 USD"})
    assert answer.status == 402
