"""Two kinds of questions that want two models: from exploring with text features to a lock by text that serves, through a real gateway."""

import json
import sqlite3
from collections import Counter
from itertools import cycle
from pathlib import Path

from tests.endtoend.conftest import Answer, Gateway, gateway_of
from tests.endtoend.test_locks import fw, reported
from tests.endtoend.upstream import Upstream

POLICY = """\
policy: helper
baseline: dear
quality: {outcome: right, of: step, confidence: 90%}
explore: {share: 50%, max_cost: 100 USD/day, max_quality_loss: 90pt}
default: {minimize: cost, require: [quality >= 85% of baseline]}
"""
PRICES = {"dear": 10.0, "coder": 1.0, "guide": 1.0}
KINDS = {
    "coder": [
        f"{ask} in {language}" for language in ("Python", "Rust", "Java", "SQL")
        for ask in ("Sort a list of numbers", "Parse a JSON file", "Fix this compiler error", "Write a unit test for a function")
    ],
    "guide": [
        f"{ask} {city}?" for city in ("Paris", "Rome", "Lisbon", "Vienna")
        for ask in ("What is the weather like in", "Which museums should I visit in", "How do I reach the airport of", "Where do people eat well in")
    ],
}  # fmt: skip
"""Which cheap model is right about which questions; the dear one is right about all."""
DRAWN, MOST = 80, 1200
WHO = {"x-fw-agent": "helper", "x-fw-step": "answer"}


def config(upstream: Upstream, *, keep: bool) -> str:
    lines = ["models:"]
    for name, price in PRICES.items():
        rate = f"price: {{input: {price} USD/Mtok, output: {price} USD/Mtok}}"
        lines.append(f"  {name}: {{deployments: [{{provider: vllm, url: '{upstream.url}', model: fx-ok, {rate}}}]}}")
    return "\n".join([*lines, "policies: [p.yaml]", f"telemetry: {{text_features: {json.dumps(keep)}}}"]) + "\n"


def ask(gateway: Gateway, question: str) -> Answer:
    answer = gateway.chat("auto", headers=WHO, max_tokens=100, messages=[{"role": "user", "content": question}])
    assert answer.status == 200
    return answer


def explored(gateway: Gateway) -> None:
    """Both kinds by turns, until each model has answered often enough."""
    questions = cycle(
        (kind, said) for pair in zip(*KINDS.values(), strict=True) for kind, said in zip(KINDS, pair, strict=True)
    )
    tried: Counter[str] = Counter()
    while min(tried[name] for name in PRICES) < DRAWN:
        assert tried.total() < MOST, tried
        kind, said = next(questions)
        answer = ask(gateway, said)
        model = answer.headers["x-fw-model"]
        tried[model] += 1
        right = json.dumps(model in {"dear", kind})
        reported(gateway, f'{{"outcomes": {{"right": {right}}}, "decision": "{answer.headers["x-fw-decision-id"]}"}}')


def test_two_kinds_of_questions_get_their_own_cheap_models(upstream: Upstream, tmp_path: Path) -> None:
    """Neither of the two is good enough for all questions; by the text they are, and a question never seen goes to the right one."""
    (tmp_path / "p.yaml").write_text(POLICY)
    with gateway_of(config(upstream, keep=True), tmp_path) as gateway:
        explored(gateway)
    told = fw(tmp_path, "policy", "compile", "helper", "--write")
    assert "by text, as expected" in told
    assert "by text: saves" in told
    step = json.loads((tmp_path / "locks" / "helper.lock.json").read_text())["steps"]["answer"]
    assert {arm["models"][0] for arm in step["arms"]} >= {"coder", "guide"}
    assert step["certificate"]["slack"] >= 0
    assert step["by_text"]["adds"] > 0.1
    (tmp_path / "fw.yaml").write_text(config(upstream, keep=False))
    with gateway_of(config(upstream, keep=False), tmp_path) as gateway:
        body = b'{"model": "auto", "messages": [{"role": "user", "content": "hi"}]}'
        found = gateway.ask("POST", "/v1/explain", body, {"content-type": "application/json", **WHO}).json
        assert "BY TEXT" in found["text"]
        assert "certified at 90% to" in found["text"]
        assert found["plan"]["by_text"]["adds"] == step["by_text"]["adds"]
        served: Counter[tuple[str, str]] = Counter()
        for _ in range(12):
            for kind, said in (
                ("coder", "Reverse a list of numbers in Python"),
                ("guide", "Which museums should I see in Paris?"),
            ):
                served[kind, ask(gateway, said).headers["x-fw-model"]] += 1
        assert served["coder", "coder"] == served["guide", "guide"] == 12
    with sqlite3.connect(tmp_path / "state" / "ledger.sqlite") as connection:
        kept = connection.execute(
            "SELECT by_text, sum(text IS NOT NULL), count(*) FROM calls GROUP BY by_text"
        ).fetchall()
    counts = {by_text: (some, every) for by_text, some, every in kept}
    assert counts[0][0] > 3 * DRAWN - 30  # shadows have no text of their own
    assert counts[1] == (0, 24)
    assert "a lock serves answer by text" in _refused(tmp_path)


def _refused(folder: Path) -> str:
    """What a what-if says of it."""
    return fw(folder, "policy", "what-if", "helper", code=1)
