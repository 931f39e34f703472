"""`fw audit`, as a user runs it."""

import json
from pathlib import Path
from typing import Any

import pytest

from fw_gateway.audit import sampled
from fw_gateway.cli import run

FIXTURES = Path(__file__).parent / "fixtures"


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["audit", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code, out, err = said(capsys, *arguments, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def experiment(path: Path, *, runs: int = 400, worse: float = 0.0, outcome: str = "solved") -> list[str]:
    """A Langfuse export in which two models served step `answer`, each its own runs, and the scores beside it."""
    observations, scores = path / "observations.jsonl", path / "scores.jsonl"
    with observations.open("w") as calls, scores.open("w") as outcomes:
        for index in range(2 * runs):
            model, cost, misses = (("gpt-4o", 0.01, 0.1), ("gpt-4o-mini", 0.001, 0.05 + worse))[index % 2]
            day, second = divmod(index * 3600, 86400)
            start = f"2026-11-{1 + day:02d} {second // 3600:02d}:00:00.000000"
            end = f"2026-11-{1 + day:02d} {second // 3600:02d}:00:0{2 + index % 3}.000000"
            calls.write(json.dumps({
                "id": f"o{index}", "trace_id": f"t{index}", "type": "GENERATION", "name": "answer", "start_time": start,
                "end_time": end, "provided_model_name": model, "usage_details": {"input": 100, "output": 10},
                "total_cost": cost, "trace_name": "helper",
            }) + "\n")  # fmt: skip
            good = (index // 2) % 100 >= 100 * misses
            outcomes.write(
                json.dumps({"trace_id": f"t{index}", "observation_id": None, "name": outcome, "value": int(good)})
                + "\n"
            )
    return [str(observations), str(scores)]


def test_spend_is_reported_by_step_and_by_model_and_unknown_prices_are_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A month is reckoned from ten days; what has no price is named and not counted."""
    found = as_json(capsys, str(FIXTURES / "litellm_spend.csv"))
    total = found["total"]
    assert total["calls"] == 5
    assert total["calls_of_unknown_cost"] == 1
    assert total["calls_priced_from_the_table"] == 1
    assert found["window"]["days"] == pytest.approx(10)
    assert total["month"] == pytest.approx(3 * total["cost"], abs=1)
    assert total["cost"] == sum(row["cost"] for row in found["steps"]) == sum(row["cost"] for row in found["models"])
    assert found["prices"]["unknown"] == [{"provider": "acme", "model": "unheard-of-1", "calls": 1}]
    assert [row["step"] for row in found["steps"]][:2] == ["answer", "triage"]


def test_the_text_says_unknown_and_never_zero_for_what_has_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    """In the row of the model, and in a line of its own."""
    _, out, _ = said(capsys, str(FIXTURES / "litellm_spend.csv"))
    (row,) = [line for line in out.splitlines() if line.startswith("unheard-of-1 @acme")]
    assert row.split()[2] == "unknown"
    assert "no price    unheard-of-1 @acme: 1 call, unknown and not counted" in out
    assert "nothing about quality can be promised" in out


def test_a_cheaper_model_is_promised_only_when_models_were_assigned_at_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log alone cannot say that the easy runs were not given to the cheap model."""
    files = experiment(tmp_path)
    (agent,) = as_json(capsys, *files)["agents"]
    loose = agent["promises"][1]["together"]
    assert loose["plan"] == {"answer": "gpt-4o-mini"}
    assert loose["saved"]["mean"] == pytest.approx(0.9)
    assert not loose["stands"]
    (agent,) = as_json(capsys, *files, "--randomised")["agents"]
    assert agent["promises"][1]["together"]["stands"]
    _, out, _ = said(capsys, *files)
    assert "would be    ≥ 95%" in out
    assert "--randomised" in out
    assert "proven" not in out.replace("not proven", "")


def test_a_worse_model_is_refused_with_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the report says how many outcomes a proof would need."""
    files = experiment(tmp_path, worse=0.4)
    (agent,) = as_json(capsys, *files, "--randomised")["agents"]
    assert all(promise["together"]["saved"] is None for promise in agent["promises"])
    assert all(promise["together"]["refused"] for promise in agent["promises"])
    (row,) = agent["missing"]
    assert row["step"] == "answer"
    assert row["baseline_needs"] > 0
    assert not row["quality_is_a_guess"]


def test_the_draft_policy_is_one_that_policy_check_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For every fixture, and with the steps and the baseline that were seen."""
    exports = [[str(path)] for path in sorted(FIXTURES.iterdir()) if "scores" not in path.name] + [experiment(tmp_path)]
    draft = tmp_path / "draft.yaml"
    for files in exports:
        code, _, err = said(capsys, *files, "--policy", str(draft))
        assert code == 0, err
        assert run(["policy", "check", str(draft)]) == 0, (files, draft.read_text(), capsys.readouterr())
        capsys.readouterr()
    text = draft.read_text()
    assert "policy: helper" in text
    assert "baseline: gpt-4o\n" in text
    assert "outcome: solved" in text
    assert "answer:" in text


def test_a_file_given_twice_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    """Calls have ids."""
    path = str(FIXTURES / "litellm_spend.csv")
    assert as_json(capsys, path, path)["total"]["calls"] == 5


def test_what_is_asked_wrongly_is_said_with_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No file, an unknown format, an outcome that is not there, a file that is not there."""
    unknown = tmp_path / "x.json"
    unknown.write_text('{"foo": 1}')
    cases = [
        ([], "name the files"),
        (["--sample", "--baseline", "m"], "takes no --baseline"),
        (["--sample", "--policy", str(tmp_path / "p.yaml")], "no calls to draft"),
        ([str(unknown)], "foo"),
        ([*experiment(tmp_path), "--outcome", "nope"], "solved"),
        ([str(tmp_path / "absent")], "cannot be read"),
        ([str(FIXTURES / "langfuse_scores.jsonl")], "no calls of models"),
    ]
    for arguments, words in cases:
        code, _, err = said(capsys, *arguments)
        assert code != 0
        assert words in err


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """So that nobody must look for them."""
    code, out, _ = said(capsys, "--help")
    assert code == 0
    assert "fw audit --sample" in out


def test_the_sample_fits_in_fifteen_lines_and_every_figure_follows_from_the_outcomes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What one would pay, what one would save with its interval, what is refused: text and JSON say the same."""
    found = as_json(capsys, "--sample")
    lines = found["text"]
    assert len(lines) <= 15
    assert found["baseline"] in lines[1]
    price = sampled.pay(found)
    assert price is not None
    assert f"${price / 1e9:,.2f}" in lines[1]
    for promise in found["promises"]:
        saved = promise["together"]["saved"]
        word = (
            "refused"
            if saved is None
            else f"saves {saved['mean'] * 100:.0f}% [{saved['low'] * 100:.0f}, {saved['high'] * 100:.0f}]"
        )
        assert any(word in line and f"≥ {promise['ratio'] * 100:.0f}%" in line for line in lines)
    assert any("latency" in line for line in lines)
