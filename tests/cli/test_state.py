"""Statistics of several gateways add up, once."""

import json
from pathlib import Path

from fw_gateway.ledger import SqliteLedger
from fw_policies.estimate import Observation, OutcomeSeen, Statistics
from fw_policies.estimate.outcomes import Outcomes


def learnt(place: Path, calls: int, good: int, void: str = "") -> Path:
    """A state directory after so many calls of one step, with as many outcomes."""
    seen = Statistics()
    for number in range(calls):
        seen.observe(Observation("bot", "edit", "m", "m@here", ok=True, latency=1.0, output_tokens=10))
        seen.outcome(OutcomeSeen("bot", "edit", "m", "passed", float(number < good)))
    ledger = SqliteLedger(place / "ledger.sqlite")
    ledger.save_statistics({**seen.to_dict(), "drift": {"void": {f"{void}\x1fedit": "void"} if void else {}}})
    ledger.close()
    return place


def test_two_gateways_know_together_what_one_would_have_known(fw, tmp_path: Path) -> None:
    one, two = learnt(tmp_path / "one", 100, 90, "abc"), learnt(tmp_path / "two", 50, 20)
    done = fw("state", "merge", str(tmp_path / "all"), str(one), str(two), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["merged"] == 2
    ledger = SqliteLedger(tmp_path / "all" / "ledger.sqlite")
    found = ledger.load_statistics() or {}
    ledger.close()
    together = Statistics.from_dict(found)
    assert together._quality["bot", "edit", "m", "passed"] == Outcomes(150, 110.0, 110.0)
    assert together._tables["latency"]["bot", "edit", "m@here"].n == 150
    assert found["drift"]["void"] == {"abc\x1fedit": "void"}


def test_what_was_merged_is_not_merged_again(fw, tmp_path: Path) -> None:
    one = learnt(tmp_path / "one", 10, 5)
    assert fw("state", "merge", str(tmp_path / "all"), str(one), str(one)).returncode == 0
    again = fw("state", "merge", str(tmp_path / "all"), str(one))
    assert again.returncode == 2
    assert "already" in again.stderr
    ledger = SqliteLedger(tmp_path / "all" / "ledger.sqlite")
    assert Statistics.from_dict(ledger.load_statistics() or {})._quality["bot", "edit", "m", "passed"].n == 10
    ledger.close()


def test_a_folder_that_no_gateway_used_is_refused_by_name(fw, tmp_path: Path) -> None:
    done = fw("state", "merge", str(tmp_path / "all"), str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "nothing" in done.stderr
    assert not (tmp_path / "all").exists()
