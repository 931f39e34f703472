"""From exploring to a lock that serves: a real gateway, three deployments, `fw policy compile`, and EXPLAIN of what it wrote."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.endtoend.conftest import Gateway, gateway_of, until
from tests.endtoend.upstream import Upstream

POLICY = """\
policy: mover
baseline: dear
quality: {outcome: right, of: step, confidence: 90%}
explore: {share: 50%, max_cost: 100 USD/day, max_quality_loss: 60pt}
default: {minimize: cost, verify: not_empty, require: [quality >= 85% of baseline]}
"""
PRICES = {"dear": 10.0, "cheap": 1.0, "tiny": 0.1}
DRAWN = 70
"""Calls that the cheap model must have answered, and the dear one too."""
MOST = 900
"""Calls after which that has failed."""
WHO = {"x-fw-agent": "mover", "x-fw-step": "move"}


def config(upstream: Upstream, capacity: str) -> str:
    """Three models of one scripted upstream; the cheap one runs on a machine of ours."""
    lines = ["models:"]
    for name, price in PRICES.items():
        own = f", capacity: {capacity} tokens/s" if name == "cheap" else ""
        rate = f"price: {{input: {price} USD/Mtok, output: {price} USD/Mtok}}"
        place = f"{{provider: vllm, url: '{upstream.url}', model: fx-ok, {rate}{own}}}"
        lines.append(f"  {name}: {{deployments: [{place}]}}")
    return "\n".join([*lines, "policies: [p.yaml]"]) + "\n"


def explored(gateway: Gateway) -> None:
    """Calls with outcomes: tiny is right every other time, the others always."""
    tried: Counter[str] = Counter()
    while min(tried["cheap"], tried["dear"]) < DRAWN:
        assert tried.total() < MOST, tried
        answer = gateway.chat("auto", headers=WHO, max_tokens=100)
        assert answer.status == 200
        model = answer.headers["x-fw-model"]
        tried[model] += 1
        right = "false" if model == "tiny" and tried[model] % 2 else "true"
        outcome = f'{{"outcomes": {{"right": {right}}}, "decision": "{answer.headers["x-fw-decision-id"]}"}}'
        reported(gateway, outcome)


def reported(gateway: Gateway, outcome: str) -> None:
    """Report an outcome of a call, which is written a moment after its answer."""
    json_type = {"content-type": "application/json"}
    until(
        lambda: gateway.ask("POST", "/v1/outcomes", outcome.encode(), json_type).status == 200,
        what="the outcome",
    )


def fw(folder: Path, *argv: str, code: int = 0) -> str:
    """What a command of `fw` prints; why, when it is to fail."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FW_", "OTEL_"))}
    command = [sys.executable, "-m", "fw_gateway", *argv, "-c", str(folder / "fw.yaml")]
    env = {**clean, "FW_STATE_DIR": str(folder / "state")}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_what_was_explored_is_proven_written_down_and_served(upstream: Upstream, tmp_path: Path) -> None:
    """The machine of the cheap model is too small for all of it: the rest stays where it was, and EXPLAIN says what it is."""
    (tmp_path / "p.yaml").write_text(POLICY)
    with gateway_of(config(upstream, "900"), tmp_path) as gateway:
        explored(gateway)
    roomy = json.loads(fw(tmp_path, "policy", "compile", "mover", "--json"))["steps"]["move"]
    assert roomy["arms"][0]["models"] == ["cheap", "dear"]
    assert {"models": ["dear"]} not in [{"models": arm["models"]} for arm in roomy["arms"]]
    (tmp_path / "fw.yaml").write_text(config(upstream, "1"))
    told = fw(tmp_path, "policy", "compile", "mover", "--write")
    assert "until not_empty" in told
    assert "of 1 tokens/s in the busiest hour; full: an hour of one more would save" in told
    assert "plans: 15 possible, 15 allowed" in told
    lock = json.loads((tmp_path / "locks" / "mover.lock.json").read_text())
    arms = {tuple(arm["models"]): arm["weight"] for arm in lock["steps"]["move"]["arms"]}
    assert {("cheap", "dear"), ("dear",)} <= set(arms)
    assert lock["machines"]["cheap@vllm"]["load"] <= 1.001
    assert lock["steps"]["move"]["mix"]["calls"]
    with gateway_of(config(upstream, "1"), tmp_path) as gateway:
        body = b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}]}'
        found = gateway.ask("POST", "/v1/explain", body, {"content-type": "application/json", **WHO}).json
        assert "certified at 90% to" in found["text"]
        assert found["plan"]["certificate"]["slack"] >= 0
        assert "covers 100% of this week" in found["text"]
        assert "dual" in found["plan"]["certificate"]
        assert {tuple(arm["models"]) for arm in found["plan"]["arms"]} == set(arms)
        answers = [gateway.chat("auto", headers=WHO, max_tokens=100) for _ in range(30)]
        assert {answer.status for answer in answers} == {200}
        assert "dear" in {answer.headers["x-fw-model"] for answer in answers}
