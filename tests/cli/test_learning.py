"""`fw policy what-if | compare | diff`, on a ledger with calls and outcomes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fw_gateway.ledger import Report, SqliteLedger
from fw_gateway.ledger.history import calls
from fw_gateway.values import Identity
from fw_policies.estimate import Observation, Statistics
from fw_policies.lock import Arm, Certificate, Lock, LockedStep, to_dict
from tests.cli.conftest import Run
from tests.telemetry import samples

CONFIG = """
models:
  strong: {deployments: [{provider: vllm, url: "http://127.0.0.1:9/v1", machine_hour: 4 USD}]}
  weak: {deployments: [{provider: vllm, url: "http://127.0.0.1:9/v1", machine_hour: 1 USD}]}
policies: [mine.yaml, cheap.yaml]
agents: {bot: mine}
"""
POLICY = """
policy: {name}
baseline: {model}
quality: {{outcome: ok, of: {of}, confidence: 90%}}
default: {{minimize: cost, require: [{require}]}}
"""
QUALITY = {"strong": 0.9, "weak": 0.7}
COST = {"strong": 4000, "weak": 1000}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two models; `mine` serves the strong one, `cheap` the weak one and promises nothing."""
    return write(tmp_path, of="step")


def write(folder: Path, *, of: str) -> Path:
    (folder / "mine.yaml").write_text(
        POLICY.format(name="mine", model="strong", of=of, require="quality >= 98% of baseline")
    )
    (folder / "cheap.yaml").write_text(POLICY.format(name="cheap", model="weak", of=of, require="p95 latency <= 30s"))
    path = folder / "fw.yaml"
    path.write_text(CONFIG)
    return path


Fill = Callable[..., None]


@pytest.fixture
def fill(tmp_path: Path) -> Fill:
    """Writes calls of agent `bot` at step `edit`: a share of them drew the weak model; outcomes of calls, or of runs."""

    def made(count: int, *, share: float, policies: tuple[str, ...] = ("mine",), scope: str = "decision") -> None:
        rng = np.random.default_rng(1)
        (tmp_path / "state").mkdir(exist_ok=True)
        ledger = SqliteLedger(tmp_path / "state" / "ledger.sqlite")
        targets = {name: replace(samples.QWEN, model=name, deployment=f"{name}@vllm") for name in QUALITY}
        records, reports = [], []
        for number in range(count):
            for policy in policies:
                weak = policy == "cheap" or rng.random() < share
                name = "weak" if weak else "strong"
                chance = 1.0 if policy == "cheap" else share if weak else 1 - share
                plan = replace(samples.PLAN, policy=policy, propensity=chance, targets=(targets[name],))
                run, task = f"{policy}-{number}", f"task-{number}"
                asked = samples.call(identity=Identity(agent="bot", step="edit", run=run, task=task))
                done = samples.attempt(target=targets[name], cost=COST[name] + int(rng.integers(0, 200)))
                records.append(samples.record(asked, [done], plan=plan))
                value = {"ok": float(rng.random() < QUALITY[name])}
                reports.append(Report(scope, asked.decision_id if scope == "decision" else run, value))  # type: ignore[arg-type]
        ledger.write(records)
        for report in reports:
            ledger.record_outcome(report)
        seen = Statistics()
        for name, cost in COST.items():
            for _ in range(60):
                about = ("bot", "edit", name, f"{name}@vllm")
                seen.observe(
                    Observation(
                        *about,
                        ok=True,
                        ttft=0.1,
                        latency=1.0,
                        output_tokens=20,
                        input_tokens=100,
                        cost=cost,
                        machine_seconds=1.0,
                    )
                )
        ledger.save_statistics(seen.to_dict())
        ledger.close()

    return made


def test_what_another_policy_would_have_given_comes_with_an_interval(fw: Run, config: Path, fill: Fill) -> None:
    """3 of 10 calls drew the weak model: what serving it always would give is known."""
    fill(900, share=0.3)
    done = fw("policy", "what-if", "cheap", "--of", "mine", "-c", str(config), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["calls"] == 900
    quality, cost = told["quality"], told["cost"]
    assert quality["refused"] == ""
    assert quality["interval"][0] < 0.7 < quality["interval"][1]
    assert quality["difference"][2] < 0
    assert cost["interval"][0] < 1100 < cost["interval"][1]
    assert told["steps"][0]["would"] == {"weak": 1.0}
    text = fw("policy", "what-if", "cheap", "--of", "mine", "-c", str(config)).stdout
    assert "ESS" in text
    assert "weak" in text


def test_a_model_can_be_put_at_a_step(fw: Run, config: Path, fill: Fill) -> None:
    """`--use edit=weak` asks the same of the policy that serves."""
    fill(900, share=0.3)
    by_policy = json.loads(fw("policy", "what-if", "cheap", "--of", "mine", "-c", str(config), "--json").stdout)
    by_model = json.loads(fw("policy", "what-if", "mine", "--use", "edit=weak", "-c", str(config), "--json").stdout)
    assert by_model["quality"] == by_policy["quality"]
    wrong = fw("policy", "what-if", "mine", "--use", "edit=weka", "-c", str(config))
    assert wrong.returncode == 2
    assert "`weak`" in wrong.stderr


def test_a_log_that_explored_too_little_is_refused_with_its_effective_size(fw: Run, config: Path, fill: Fill) -> None:
    """2 % of 300 calls are not 100."""
    fill(300, share=0.02)
    done = fw("policy", "what-if", "cheap", "--of", "mine", "-c", str(config))
    assert done.returncode == 0
    assert "refused: effective sample size" in done.stdout


def test_outcomes_of_runs_judge_whole_runs(fw: Run, tmp_path: Path, fill: Fill) -> None:
    """With `of: run` the unit is the run."""
    config = write(tmp_path, of="run")
    fill(600, share=0.4, scope="run")
    told = json.loads(fw("policy", "what-if", "cheap", "--of", "mine", "-c", str(config), "--json").stdout)
    assert told["quality"]["unit"] == "run"
    assert told["quality"]["interval"][0] < 0.7 < told["quality"]["interval"][1]


def test_two_policies_are_compared_by_their_runs(fw: Run, config: Path, fill: Fill) -> None:
    """The weak policy is 20 points worse: rejected. Against itself with half the tasks, nothing is decided."""
    fill(400, share=0.0001, policies=("mine", "cheap"))
    told = json.loads(fw("policy", "compare", "mine", "cheap", "-c", str(config), "--json").stdout)
    assert told["verdict"] == "REJECT"
    assert told["runs"] == [400, 400]
    assert told["quality"]["paired"]
    assert told["cost"]["high"] < 0
    text = fw("policy", "compare", "mine", "cheap", "--margin", "25pt", "-c", str(config)).stdout
    assert text.startswith("PROMOTE")
    assert "paired" in text


def test_too_few_runs_say_how_many_are_missing(fw: Run, config: Path, fill: Fill) -> None:
    """Forty tasks do not separate two points."""
    fill(40, share=0.0001, policies=("mine", "cheap"))
    told = json.loads(fw("policy", "compare", "mine", "cheap", "--margin", "21pt", "-c", str(config), "--json").stdout)
    assert told["verdict"] == "INCONCLUSIVE"
    assert told["more"] is None or told["more"] > 0


def test_a_change_is_told_per_step_before_it_is_applied(fw: Run, config: Path, fill: Fill) -> None:
    """Models before and after, dollars a month with bounds, and the promise that is lost."""
    fill(200, share=0.1)
    text = fw("policy", "diff", "mine", "cheap", "-c", str(config)).stdout
    line = next(line for line in text.splitlines() if line.startswith("edit: "))
    assert "single strong → fall_back weak, strong" in line
    assert "/month [" in line
    assert "quality promise lost" in line
    told = json.loads(fw("policy", "diff", "mine", "cheap", "-c", str(config), "--json").stdout)
    step = next(row for row in told["steps"] if row["step"] == "edit")
    value, low, high = step["monthly"]
    assert low <= value <= high
    assert value < 0
    assert value == pytest.approx(
        200 * 30 * -833_333, rel=0.05
    )  # 200 calls a day of one machine-second, 3 USD an hour less
    back = fw("policy", "diff", "cheap", "mine", "-c", str(config)).stdout
    assert "quality promise gained" in back


def locked(folder: Path, name: str, steps: dict[str, LockedStep]) -> str:
    lock = Lock("mine", "abc", "strong", "2026-11-01", "d4t4", "2026-10-01", "2026-11-01", "p", 1, steps)
    path = folder / name
    path.write_text(json.dumps(to_dict(lock)))
    return str(path)


def test_two_locks_are_told_apart_step_by_step(fw: Run, config: Path, tmp_path: Path, fill: Fill) -> None:
    """A mixture that was certified, a step whose certificate is gone, and the dollars at the volume of the ledger."""
    fill(100, share=0.1)
    proof = Certificate("quality >= 98% of baseline", "ok", "step", 0.9, 0.9, 0.01, 200, "2026-12-01")
    plain = LockedStep((Arm(("strong",)),), proof, (4000.0, 3900.0, 4100.0))
    mixed = LockedStep((Arm(("weak", "strong"), 0.5), Arm(("strong",), 0.5)), proof, (2500.0, 2400.0, 2700.0))
    before = locked(tmp_path, "before.json", {"edit": plain, "plan": plain})
    after = locked(tmp_path, "after.json", {"edit": mixed, "plan": LockedStep((), reason="12 runs are too few")})
    text = fw("policy", "diff", before, after, "-c", str(config)).stdout
    edit = next(line for line in text.splitlines() if line.startswith("edit: "))
    assert "single strong → mixture weak then strong 50%, strong 50%" in edit
    assert "/month [" in edit
    plan = next(line for line in text.splitlines() if line.startswith("plan: "))
    assert "baseline strong" in plan
    assert "quality promise lost (12 runs are too few)" in plan
    told = json.loads(fw("policy", "diff", before, after, "-c", str(config), "--json").stdout)
    value, low, high = told["steps"][0]["monthly"]
    assert value == pytest.approx(100 * 30 * -1500)
    assert low < value < high < 0
    assert fw("policy", "diff", before, "mine", "-c", str(config)).returncode == 2
    (tmp_path / "none.json").write_text("{}")
    assert "no lock" in fw("policy", "diff", before, str(tmp_path / "none.json"), "-c", str(config)).stderr


def test_a_policy_that_does_not_change_says_so(fw: Run, config: Path) -> None:
    """Without a ledger too."""
    done = fw("policy", "diff", "mine", "mine", "-c", str(config))
    assert done.returncode == 0, done.stderr
    assert "no step changes its plan" in done.stdout


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("what-if", "mien"), "`mine`"),
        (("what-if", "mine", "--since", "soon"), "Write 12h"),
        (("compare", "mine", "cheap", "--margin", "0"), "margin"),
        (("compare", "mine", "cheap", "--cost-margin", "lots"), "any"),
        (("diff", "mine", "chaep"), "`cheap`"),
    ],
)
def test_a_mistake_is_told_with_what_to_write(fw: Run, config: Path, argv: tuple[str, ...], said: str) -> None:
    """Exit code 2, one message."""
    done = fw("policy", *argv, "-c", str(config))
    assert done.returncode == 2
    assert said in done.stderr


def test_without_a_ledger_the_message_says_where_one_comes_from(fw: Run, config: Path) -> None:
    """Nothing is made up."""
    done = fw("policy", "what-if", "mine", "-c", str(config))
    assert done.returncode == 1
    assert "fw up" in done.stderr


def test_calls_nobody_made_are_named_with_what_there_is(fw: Run, config: Path, fill: Fill) -> None:
    """A near name, or the ones the ledger has."""
    fill(5, share=0.5)
    done = fw("policy", "compare", "mine", "chep", "-c", str(config))
    assert done.returncode == 1
    assert "mine" in done.stderr
    assert "label" in fw("policy", "compare", "variant=a", "variant=b", "-c", str(config)).stderr


@pytest.mark.parametrize("command", ["what-if", "compare", "diff"])
def test_each_has_help_with_an_example(fw: Run, command: str) -> None:
    """One line that works."""
    done = fw("policy", command, "--help")
    assert done.returncode == 0
    assert f"fw policy {command}" in done.stdout


def test_the_history_is_what_was_drawn_and_what_came_of_it(tmp_path: Path) -> None:
    """The first model that was tried, not the one that fell in for it; pinned calls are no decisions; newest outcome wins."""
    ledger = SqliteLedger(tmp_path / "ledger.sqlite")
    fell = samples.fallback()
    pinned = samples.record(samples.call(), [samples.attempt()], plan=samples.PINNED)
    ledger.write([fell, pinned])
    ledger.record_outcome(Report("decision", fell.call.decision_id, {"ok": 0.0}))
    ledger.record_outcome(Report("decision", fell.call.decision_id, {"ok": 1.0}, version="2"))
    ledger.record_outcome(Report("run", "run-7", {"tests_pass": 1.0}))
    ledger.record_outcome(Report("run", "run-7", {"edited": 0.5}, step="edit"))
    ledger.close()
    (one,) = calls(tmp_path / "ledger.sqlite", 0)
    assert one.decision_id == fell.call.decision_id
    assert (one.model, one.policy, one.propensity) == ("gpt-5-mini", "coding", 1.0)
    assert one.outcomes == {"ok": 1.0, "edited": 0.5}
    assert one.run_outcomes == {"tests_pass": 1.0}
    assert one.labels == (("tier", "gold"),)
    assert calls(tmp_path / "ledger.sqlite", fell.call.started_ns + 10**12) == ()


def test_a_proof_becomes_a_lock_that_serves_and_can_be_taken_back(
    fw: Run, config: Path, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As good at a quarter of the cost, on 4 of 10 calls of 1,500: enough for a certificate."""
    monkeypatch.setitem(QUALITY, "weak", 0.93)
    fill(1500, share=0.4)
    compiled = ("policy", "compile", "mine", "-c", str(config))
    dry = fw(*compiled, "--json")
    assert dry.returncode == 0, dry.stderr
    found = json.loads(dry.stdout)
    step = found["steps"]["edit"]
    assert step["arms"] == [{"models": ["weak"], "weight": 1.0}]
    assert step["certificate"]["of"] == "step"
    assert step["certificate"]["slack"] >= 0
    assert step["saved"][1] <= 0.75 <= step["saved"][2] + 0.02
    assert found["written"] is None
    assert not (config.parent / "locks").exists()
    assert json.loads(fw(*compiled, "--json").stdout)["digest"] == found["digest"]  # the same calls, the same lock

    written = fw(*compiled, "--write")
    assert written.returncode == 0, written.stderr
    assert "certified at 90%" in written.stdout
    explained = fw("explain", "bot/edit", "-c", str(config))
    assert "certified at 90% to" in explained.stdout
    assert found["digest"] in explained.stdout
    assert "weak @" in explained.stdout
    other = fw(*compiled, "--write", "--seed", "5", "--json")
    listed = json.loads(fw("policy", "locks", "mine", "-c", str(config), "--json").stdout)
    assert {row["digest"] for row in listed["locks"]} == {found["digest"], json.loads(other.stdout)["digest"]}
    back = fw("policy", "rollback", "mine", found["digest"][:6], "-c", str(config))
    assert back.returncode == 0, back.stderr
    listed = json.loads(fw("policy", "locks", "mine", "-c", str(config), "--json").stdout)
    assert [row["serves"] for row in listed["locks"] if row["digest"] == found["digest"]] == [True]

    said = "void since 2026-11-23: ok falls short of the certified 0.900"
    ledger = SqliteLedger(config.parent / "state" / "ledger.sqlite")
    ledger.save_statistics(
        {**(ledger.load_statistics() or {}), "drift": {"void": {f"{found['digest']}\x1fedit": said}}}
    )
    ledger.close()
    assert said in fw("policy", "locks", "mine", "-c", str(config)).stdout
    ended = fw("explain", "bot/edit", "-c", str(config)).stdout
    assert said in " ".join(ended.split())
    assert "certified at 90% to" not in ended


def test_what_was_never_drawn_at_random_is_not_certified(fw: Run, config: Path, fill: Fill) -> None:
    fill(200, share=0.0)
    done = fw("policy", "compile", "mine", "-c", str(config))
    assert done.returncode == 0, done.stderr
    assert "strong stays" in done.stdout
    assert "drawn at random" in done.stdout
    assert "nothing was written" in done.stdout


def test_a_lock_of_an_older_policy_is_not_used_and_that_is_said(fw: Run, config: Path) -> None:
    place = config.parent / "locks"
    place.mkdir()
    lock = Lock("mine", "older1", "strong", "2026-11-01", "d", "2026-10-01", "2026-11-01", "p", 0, {})
    (place / "mine.lock.json").write_text(json.dumps(to_dict(lock)))
    done = fw("config", "check", "-c", str(config))
    assert done.returncode == 0, done.stderr
    assert "version older1" in done.stdout + done.stderr
    (place / "mine.lock.json").write_text("{]")
    done = fw("config", "check", "-c", str(config))
    assert done.returncode != 0
    assert "mine.lock.json" in done.stdout + done.stderr


def test_a_lock_that_is_not_there_is_named(fw: Run, config: Path) -> None:
    assert "has no lock" in fw("policy", "locks", "mine", "-c", str(config)).stdout
    done = fw("policy", "rollback", "mine", "abc", "-c", str(config))
    assert done.returncode == 2
    assert "no lock of mine" in done.stderr
