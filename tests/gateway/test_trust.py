"""What was planned stands beside what became of it: the ranges hold as often as they say, and who deceives is found out."""

import random
from dataclasses import replace
from pathlib import Path

from fw_gateway.ledger import SqliteLedger
from fw_gateway.state import Worlds
from fw_gateway.values import Attempt, Call, Identity, Record, Trace, Usage
from fw_policies.estimate import Statistics
from fw_policies.model import Facts, TokenPrice
from tests.gateway.conftest import config_of, endpoint

FACTS = Facts(agent="coding", step="edit", input_tokens=100)
PRICE = TokenPrice(10**9, 10**9)


def played(folder: Path, *, dearer: int = 1, calls: int = 500) -> SqliteLedger:
    """So many calls of one model, each planned in the world as it was; it is billed at `dearer` times its price."""
    found = endpoint("base", "here", "http://127.0.0.1:1")
    found = replace(found, target=replace(found.target, price=PRICE, self_hosted=False))
    text = {"baseline": "base", "default": {"minimize": "cost", "require": ["p95 latency <= 4s"]}}
    config = config_of(folder, found, policies={"p": text})
    worlds, rng, records = Worlds(config, Statistics()), random.Random(1), []
    for number in range(calls):
        worlds._taken = -10.0
        plan = worlds.plan(config.policies["p"], FACTS)
        took = rng.lognormvariate(0, 0.4)
        written = int(100 * rng.lognormvariate(0, 0.5))
        usage = Usage(100, written)
        cost = (100 + written) * 1000 * dearer
        target = found.target
        one = Attempt(1, "initial", target, "s", 0, 0.0, took, "success", status=200, usage=usage, cost=cost)
        who = Identity(agent="coding", step="edit")
        name = f"{number:06d}"
        call = Call(name, name, "chat", "/v1", b"{}", {}, "auto", False, False, who, Trace("t"), "s", 0, 0.0, 600.0)
        record = Record(call, plan, attempts=[one], served=one, ended=took, status=200)
        worlds.observe(record, {})
        records.append(record)
    ledger = SqliteLedger(folder / "ledger.sqlite")
    ledger.write(records)
    return ledger


def test_nine_of_ten_calls_lie_in_the_range_that_was_planned_for_them(tmp_path: Path) -> None:
    """Cost and latency, over 500 calls whose truth does not change; the first 19 had no range."""
    found = played(tmp_path).trust("p", "edit", 0)
    assert found.n == 2 * (500 - 19)
    assert 0.86 <= found.held / found.n <= 0.94, found
    assert found.cost_ratio is not None
    assert 0.95 <= found.cost_ratio <= 1.05
    assert found.latency_ratio is not None
    assert 0.95 <= found.latency_ratio <= 1.05


def test_a_price_list_that_is_half_of_the_bill_shows_in_ratio_and_share(tmp_path: Path) -> None:
    found = played(tmp_path, dearer=2).trust("p", "edit", 0)
    assert found.cost_ratio is not None
    assert 1.9 <= found.cost_ratio <= 2.1
    assert found.held / found.n < 0.75


def test_what_is_not_known_of_a_step_is_none(tmp_path: Path) -> None:
    ledger = played(tmp_path, calls=5)
    assert ledger.trust("p", "edit", 0).n == 0
    nothing = ledger.trust("p", "other", 0)
    assert (nothing.n, nothing.held, nothing.cost_ratio, nothing.latency_ratio) == (0, 0, None, None)
    assert ledger.trust("p", "edit", 1).cost_ratio is None
