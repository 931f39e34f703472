"""Plans of more than one model, in a gateway as its users have it: checks, verdicts, exploring, and what the ledger and traces have of them."""

import json
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.endtoend.conftest import Answer, Gateway, gateway_of, until
from tests.endtoend.test_traces import PARENT, checker, spans
from tests.endtoend.upstream import Upstream

__all__ = ["checker"]

GOOD, BAD = '{"label":"a"}', "no label"
SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}
ASKED = {"max_tokens": 100, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}}
POLICIES = {
    "checked": "default: {verify: json_schema, require: [cost <= 1 USD]}",
    "strict": "default: {verify: [not_empty, 'regex(^never)'], otherwise: refuse, require: [cost <= 1 USD]}",
    "mine": "default: {verify: patch_applies, require: [cost <= 1 USD]}",
    "curious": (
        "explore: {share: 50%, max_cost: 1 USD/day, max_quality_loss: 5pt}\ndefault: {require: [p95 ttft <= 2s]}"
    ),
}


@pytest.fixture(scope="module")
def plans(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """`a-cheap` says what is no JSON, and is tried before the baseline `b-strong`, which says what is asked."""
    folder = tmp_path_factory.mktemp("plans")
    lines = ["models:"]
    for name, says in (("a-cheap", BAD), ("b-strong", GOOD)):
        place = {"provider": "vllm", "url": upstream.url, "model": f"fx-say:{says}"}
        priced = {**place, "price": {"input": "1 USD/Mtok", "output": "1 USD/Mtok"}, "max_output": 100}
        lines.append(f"  {name}: {{deployments: [{json.dumps(priced)}]}}")
    for name, text in POLICIES.items():
        (folder / f"{name}.yaml").write_text(f"policy: {name}\nbaseline: b-strong\n{text}\n")
    lines.append(f"policies: [{', '.join(f'{name}.yaml' for name in POLICIES)}]")
    with gateway_of("\n".join(lines) + "\n", folder) as found:
        yield found


def asked(plans: Gateway, policy: str, *, trace: int = 0, stream: bool = False, **headers: str) -> Answer:
    sent = {"x-fw-policy": policy, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if trace:
        sent["traceparent"] = PARENT.format(trace=f"{trace:032x}")
    return plans.chat("auto", headers=sent, stream=stream, **ASKED)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_fails_its_check_is_answered_by_the_next_model(
    plans: Gateway, checker: ModuleType, stream: bool
) -> None:
    """The client gets the accepted answer alone; ledger, EXPLAIN ANALYZE and traces have both, and both are charged."""
    number = 0xC0 + stream
    # A step of its own: what was rejected at one is known a moment later, and the cheap model is not tried first there any more.
    answer = asked(plans, "checked", trace=number, stream=stream, x_fw_step=f"checked-{stream}")
    text = answer.text if stream else answer.json["choices"][0]["message"]["content"]
    assert (answer.status, text, answer.headers["x-fw-model"]) == (200, GOOD, "b-strong")
    assert BAD.encode() not in answer.body
    found = plans.ask("GET", f"/v1/decisions/{answer.headers['x-fw-decision-id']}").json
    first, second = found["decision"]["actual"]["attempts"]
    assert (first["outcome"], first["check"], second["outcome"]) == ("rejected", "json_schema", "success")
    assert found["decision"]["actual"]["cost"] == first["cost"] + second["cost"] == 2 * 72 * 1000
    assert "rejected by json_schema" in found["text"]
    tree = until(lambda: spans(plans.traces, f"{number:032x}"), what="the trace")
    assert checker.check(tree) == []
    tries = [span["attributes"] for span in tree if span["kind"] == "CLIENT"]
    assert [one["fw.attempt.outcome"] for one in sorted(tries, key=lambda a: a["fw.attempt.number"])] == [
        "rejected",
        "success",
    ]
    assert {one.get("fw.attempt.check") for one in tries} == {"json_schema", None}


def test_a_policy_that_refuses_says_which_check_failed(plans: Gateway) -> None:
    answer = asked(plans, "strict", x_fw_step="strict")
    assert (answer.status, answer.error["code"]) == (502, "verification_failed")
    assert "regex(^never)" in answer.error["message"]


def test_a_client_without_an_sdk_may_judge_too(plans: Gateway) -> None:
    """Plain HTTP: a header that declares the check, and one POST for each verdict."""
    answer = asked(plans, "mine", x_fw_verify="patch_applies", x_fw_step="mine")
    assert answer.headers["x-fw-verify"] == "patch_applies"
    path = f"/v1/decisions/{answer.headers['x-fw-decision-id']}/verdict"
    following = plans.ask("POST", path, b'{"accept": false, "attempt": 1}', {"content-type": "application/json"})
    assert following.json["choices"][0]["message"]["content"] == GOOD
    last = plans.ask("POST", path, b'{"accept": true, "attempt": 2}', {"content-type": "application/json"})
    assert last.json == {"accepted": True}
    assert plans.ask("POST", path, b'{"accept": true}', {"content-type": "application/json"}).status == 410
    assert plans.ask("POST", path, b'{"accept": 1}', {"content-type": "application/json"}).status == 400


def test_what_is_explored_is_in_the_ledger_with_its_propensity(plans: Gateway) -> None:
    """Beside the baseline's answers first, of which nothing is served; once enough was seen of it, in their place."""
    seen, number = set(), iter(range(10_000))

    def both() -> bool:
        answer = asked(plans, "curious", x_fw_task=str(next(number)))
        found = plans.ask("GET", f"/v1/decisions/{answer.headers['x-fw-decision-id']}").json["decision"]
        seen.add((found["explored"], found["propensity"], answer.headers["x-fw-model"]))
        return len(seen) == 3

    until(both, seconds=20, what="a call that is served by what is explored")
    assert seen == {(False, 1.0, "b-strong"), (True, 0.5, "a-cheap"), (False, 0.5, "b-strong")}
