"""What is proven on live traffic changes the plan, survives a restart, and is explained."""

from pathlib import Path

import pytest

from tests.endtoend.conftest import Gateway, gateway_of, until
from tests.endtoend.upstream import Upstream

MINE = {"x-fw-agent": "mover", "x-fw-step": "move"}
NEEDED = 56
"""Calls without a miss that prove a 95th percentile at 90 %."""


@pytest.fixture(scope="module")
def home(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("learning")
    (folder / "p.yaml").write_text(
        "policy: mover\nbaseline: dear\nquality: {outcome: right, of: step}\n"
        "default: {minimize: cost, require: [quality >= 80%, p95 latency <= 5s]}\n"
    )
    models = "\n".join(
        f"  {name}: {{deployments: [{{provider: vllm, url: '{upstream.url}', model: fx-ok, machine_hour: {price} USD}}]}}"
        for name, price in (("dear", 500), ("cheap", 1))
    )
    return f"models:\n{models}\npolicies: [p.yaml]\n", folder


def served(gateway: Gateway) -> str:
    """The model that the policy chooses now."""
    return gateway.chat("auto", headers=MINE).headers["x-fw-model"]


def plan(gateway: Gateway) -> dict:
    body = b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}]}'
    found = gateway.ask("POST", "/v1/explain", body, {"content-type": "application/json", **MINE}).json
    assert found["text"]
    return dict(found["plan"])


def test_the_plan_moves_when_the_cheaper_model_is_proven_and_not_before(home: tuple[str, Path]) -> None:
    """Day one is the baseline; calls alone prove latency, outcomes prove quality; a restart forgets nothing."""
    config, folder = home
    with gateway_of(config, folder) as gateway:
        assert plan(gateway)["reason"] == "baseline"
        for number in range(NEEDED):
            assert served(gateway) == "dear"
            answer = gateway.chat("cheap", headers=MINE)
            outcome = f'{{"outcomes": {{"right": true}}, "decision": "{answer.headers["x-fw-decision-id"]}"}}'
            if number >= NEEDED - 30:
                stored = gateway.ask("POST", "/v1/outcomes", outcome.encode(), {"content-type": "application/json"})
                assert stored.json == {"stored": 1, "duplicate": False}
                again = gateway.ask("POST", "/v1/outcomes", outcome.encode(), {"content-type": "application/json"})
                assert again.json == {"stored": 0, "duplicate": True}
        until(lambda: served(gateway) == "cheap", what="the move to the cheaper model")
        moved = plan(gateway)
        assert moved["reason"] in {"best_score", "only_eligible"}
        assert [target["model"] for target in moved["targets"]] == ["cheap", "dear"]
        assert all(line["proven"] for line in moved["requirements"])
        assert moved["saves"]["share"] > 0.9
    with gateway_of(config, folder) as gateway:
        assert served(gateway) == "cheap"
