"""A call from question to reply, over a transport that plays a script."""

import asyncio
import contextvars
import gc
import os
import threading
from decimal import Decimal

import pytest
from pydantic import BaseModel

import fwsdk
from fwsdk import AsyncClient, Client, Money
from fwsdk.testing import FakeTransport, ManualClock, completion, error, forbid_network, reply, stream

CALL = {"id": "call_1", "type": "function", "function": {"name": "run_tests", "arguments": '{"path": "t"}'}}


def test_the_example_of_the_readme_works() -> None:
    """Two steps, a stream that continues a reply, an outcome, an explanation and a cost."""
    transport = FakeTransport(
        completion("because", headers={"x-fw-cost": "0.0001", "x-fw-decision-id": "d1", "x-fw-model": "m"}),
        stream("a ", "patch", receipt={"cost": "0.0002", "budget_remaining": "1.99"}),
        reply({"stored": 1, "duplicate": False}),
        reply({"text": "TREE", "run": {"cost": 1}}),
    )
    with Client(transport=transport) as fw:
        with fw.run("coding", budget="2 USD") as run:
            with run.step("plan"):
                plan = fw.chat("Why does test_x fail?")
            with run.step("edit"):
                pieces = list(fw.stream(plan.then("Write the patch.")))
            assert run.outcome(tests_pass=True).stored == 1
        assert str(run.explain()) == "TREE"
        assert run.cost == Money.of("0.0003")
        assert str(run.cost) == "$0.0003"
    assert pieces == ["a ", "patch"]
    assert (plan.text, plan.decision_id, plan.model, plan.cost.usd) == ("because", "d1", "m", Decimal("0.0001"))
    first, second, outcome, explain = transport.requests
    assert first.headers["x-fw-agent"] == "coding"
    assert first.headers["x-fw-step"] == "plan"
    assert second.headers["x-fw-step"] == "edit"
    assert first.headers["x-fw-run"] == second.headers["x-fw-run"] == run.id
    assert first.headers["x-fw-budget"] == "2 USD"
    assert [one["role"] for one in second.json["messages"]] == ["user", "assistant", "user"]
    assert outcome.json["outcomes"] == {"tests_pass": True}
    assert outcome.json["run"] == run.id
    assert "step" not in outcome.json
    assert explain.request.path == f"/v1/runs/{run.id}"
    assert transport.closed


async def test_the_asynchronous_client_has_the_same_names() -> None:
    """Awaited, or iterated with `async for`; steps are kept apart across concurrent tasks."""
    transport = FakeTransport(*[completion(str(number)) for number in range(4)], stream("x"))
    async with AsyncClient(transport=transport) as fw, fw.run("coding") as run:

        async def work(name: str) -> None:
            async with run.step(name):
                await asyncio.sleep(0)
                await fw.chat(name)

        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c", "d"):
                group.create_task(work(name))
        assert [piece async for piece in fw.stream("s")] == ["x"]
    said = {one.json["messages"][0]["content"]: one.headers.get("x-fw-step") for one in transport.requests}
    assert said == {"a": "a", "b": "b", "c": "c", "d": "d", "s": None}


def test_the_public_methods_of_both_clients_are_the_same() -> None:
    """Nothing exists on one side only."""

    def names(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert names(Client) == names(AsyncClient)


def test_a_thread_without_context_sends_no_identity() -> None:
    """Headers are absent rather than stale where a context was not carried along."""
    transport = FakeTransport(completion("1"))
    with Client(transport=transport) as fw, fw.run("coding") as run, run.step("plan"):
        thread = threading.Thread(target=contextvars.Context().run, args=(fw.chat, "hi"))
        thread.start()
        thread.join()
    assert not [name for name in transport.requests[0].headers if name.startswith("x-fw-")]


async def test_the_blocking_client_works_inside_a_running_loop() -> None:
    """It has a thread of its own."""
    with Client(transport=FakeTransport(completion("1"))) as fw:
        assert fw.chat("hi").text == "1"


def test_a_client_nobody_closed_ends_its_thread() -> None:
    """Forgetting is repaired when the object goes."""
    transport = FakeTransport(completion("1"))
    Client(transport=transport).chat("hi")
    gc.collect()
    assert transport.closed
    assert "fwsdk" not in {thread.name for thread in threading.enumerate()}


def test_a_child_of_a_fork_is_told_to_make_its_own_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread does not survive a fork, so a call would wait for ever."""
    with Client(transport=FakeTransport(completion("1"))) as fw:
        fw.chat("hi")
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            with pytest.raises(RuntimeError, match="fork"):
                fw.chat("hi")


def test_tools_travel_both_ways() -> None:
    """Tool calls are typed, and their results continue the conversation."""
    transport = FakeTransport(completion(None, tool_calls=[CALL]), completion("done"))
    with Client(transport=transport) as fw:
        asked = fw.chat("go", tools=[{"type": "function", "function": {"name": "run_tests"}}])
        assert asked.finish_reason == "tool_calls"
        assert asked.tool_calls[0].name == "run_tests"
        assert asked.tool_calls[0].arguments == {"path": "t"}
        fw.chat(asked.tool_result(asked.tool_calls[0], "1 failed"))
    sent = transport.requests[1].json["messages"]
    assert sent[1]["tool_calls"] == [CALL]
    assert sent[2] == {"role": "tool", "tool_call_id": "call_1", "content": "1 failed"}


def test_an_answer_is_parsed_into_the_class_that_was_asked_for() -> None:
    """A pydantic model becomes a strict JSON schema, and the text becomes an instance."""

    class Verdict(BaseModel):
        good: bool
        why: str = ""

    transport = FakeTransport(completion('{"good": true, "why": "x"}'), completion("nonsense"))
    with Client(transport=transport) as fw:
        assert fw.chat("?", response_format=Verdict).parsed == Verdict(good=True, why="x")
        with pytest.raises(fwsdk.InvalidReply, match="Verdict"):
            _ = fw.chat("?", response_format=Verdict).parsed
    sent = transport.requests[0].json["response_format"]["json_schema"]
    assert sent["name"] == "Verdict"
    assert sent["schema"]["required"] == ["good", "why"]
    assert sent["schema"]["additionalProperties"] is False


def test_unknown_fields_pass_through_and_none_is_not_sent() -> None:
    """What the SDK does not know is the gateway's and the model's business."""
    transport = FakeTransport(completion("1"))
    with Client(transport=transport) as fw:
        fw.chat("hi", temperature=0.2, guided_regex="a+", max_tokens=None)
    body = transport.requests[0].json
    assert body["guided_regex"] == "a+"
    assert "max_tokens" not in body
    assert "tools" not in body


def test_the_other_endpoints() -> None:
    """Embeddings, models, explanations and late outcomes."""
    transport = FakeTransport(
        reply({"model": "e", "data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"prompt_tokens": 1}}),
        reply({"object": "list", "data": [{"id": "smollm2", "more": 1}]}),
        reply({"text": "PLAN", "plan": {"reason": "baseline"}}),
        reply({"text": "DONE", "decision": {}}),
        reply({"stored": 1, "duplicate": True}),
    )
    with Client(transport=transport) as fw:
        assert fw.embed("hi", model="e").vectors == [[1.0, 2.0]]
        assert fw.models()[0].id == "smollm2"
        plan = fw.explain("hi", model="coding/edit")
        assert (str(plan), plan.plan and plan.plan.reason) == ("PLAN", "baseline")
        assert str(fw.explain(decision="d1")) == "DONE"
        assert fw.outcome({"rating": 0.5}, decision="d1", key="k").duplicate
    paths = [one.request.path for one in transport.requests]
    assert paths == ["/v1/embeddings", "/v1/models", "/v1/explain", "/v1/decisions/d1", "/v1/outcomes"]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, None, fwsdk.BadRequest),
        (401, None, fwsdk.Unauthorized),
        (402, "budget_exceeded", fwsdk.BudgetExceeded),
        (403, None, fwsdk.Forbidden),
        (404, "model_not_found", fwsdk.NotFound),
        (422, None, fwsdk.BadRequest),
    ],
)
def test_a_bad_request_is_sent_once(status: int, code: str | None, kind: type[fwsdk.APIError]) -> None:
    """What another attempt cannot cure is not repeated; the gateway's words are kept."""
    transport = FakeTransport(error(status, "what to do", code=code, x_request_id="r1"))
    with Client(transport=transport, clock=ManualClock()) as fw, pytest.raises(kind, match="what to do") as raised:
        fw.chat("hi")
    assert type(raised.value) is kind
    assert (raised.value.status, raised.value.code, raised.value.request_id) == (status, code or "", "r1")
    assert len(transport.requests) == 1


def test_failures_are_repeated_twice_and_the_last_is_told() -> None:
    """Waits obey Retry-After; the remaining time sent shrinks."""
    clock = ManualClock(draws=[0.0])
    transport = FakeTransport(error(429, retry_after=3), fwsdk.ConnectionFailed("no"), error(503, code="no_candidate"))
    with Client(transport=transport, clock=clock, timeout=60) as fw, pytest.raises(fwsdk.NoCandidate):
        fw.chat("hi")
    assert clock.slept == [3.0, 0.0]
    assert [one.headers["x-request-timeout"] for one in transport.requests] == ["60.000", "57.000", "57.000"]


def test_the_gateway_may_forbid_a_retry() -> None:
    """`x-should-retry: false` after its own budget is spent keeps failures from multiplying."""
    transport = FakeTransport(error(500, x_should_retry="false"))
    with Client(transport=transport, clock=ManualClock()) as fw, pytest.raises(fwsdk.ServerError):
        fw.chat("hi")
    assert len(transport.requests) == 1


def test_an_answer_that_is_none_is_an_error() -> None:
    """A success with another body than an answer is never a reply."""
    transport = FakeTransport(reply([1]), reply({"choices": []}), reply({"x": 1}))
    with Client(transport=transport) as fw:
        for _ in range(3):
            with pytest.raises(fwsdk.InvalidReply):
                fw.chat("hi")


def test_nothing_real_is_called_where_it_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a context manager, or by the environment; a fake still works."""
    with Client("http://127.0.0.1:9") as fw:
        with forbid_network(), pytest.raises(fwsdk.NetworkForbidden):
            fw.chat("hi")
        monkeypatch.setenv("FW_FORBID_NETWORK", "1")
        with pytest.raises(fwsdk.NetworkForbidden):
            fw.chat("hi")
    with Client(transport=FakeTransport(completion("1"))) as fw:
        assert fw.chat("hi").text == "1"


def test_the_key_is_never_shown_and_bad_settings_are_refused() -> None:
    """Neither the client nor its settings print it."""
    assert "sekrit" not in repr(fwsdk.config.settings(api_key="sekrit", environ={}))
    with pytest.raises(ValueError, match="FW_URL"):
        Client("localhost:8400")
    with pytest.raises(ValueError, match="positive"):
        Client(timeout=0)
    with Client(transport=FakeTransport()) as fw, pytest.raises(ValueError, match="money"):
        fw.run("a", budget="two dollars")


def test_a_cost_nobody_knows_is_unknown() -> None:
    """One unknown cost makes the sum of the run unknown; it is never taken for zero."""
    transport = FakeTransport(completion("1", headers={"x-fw-cost": "0.1"}), completion("2"))
    with Client(transport=transport) as fw, fw.run("a") as run:
        fw.chat("hi")
        assert str(run.cost) == "$0.1"
        fw.chat("hi")
    assert run.cost.usd is None
    assert f"{run.cost}" == "unknown"


def test_a_client_whose_start_was_interrupted_can_be_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while its thread is being started: there is nothing to wait for."""
    client = Client(transport=FakeTransport(completion("1")))

    def interrupted(_: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.chat("hi")
    client.close()
