"""What reaches the wire when a LangGraph graph calls the gateway: who is calling, with no code of the user's."""

import asyncio
import operator
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableParallel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy, Send, interrupt

from fw_agents.langgraph import ChatGateway
from fwsdk import AsyncClient, Client
from tests.endtoend.upstream import ANSWER, Seen, Upstream

ASKED = {"messages": [("user", "Say the words.")]}


@dataclass
class Budget:
    """A graph's context, as a program might write it."""

    budget_usd: float


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    found = Upstream()
    yield found
    found.close()


@pytest.fixture
def llm(upstream: Upstream) -> ChatGateway:
    return ChatGateway("fx-ok", base_url=upstream.url, api_key="any")


def graph(name: str, node: Callable[..., Any], **options: Any) -> Any:
    """A graph of one node."""
    return (
        StateGraph(MessagesState, context_schema=Budget)
        .add_node(name, node, **options)
        .add_edge(START, name)
        .compile(name="bugbot")
    )


def who(seen: Seen) -> dict[str, str]:
    """The claims of one request."""
    return {name[5:]: value for name, value in seen.headers.items() if name.startswith("x-fw-")}


def test_a_node_is_a_step_of_the_agent_that_the_graph_is(upstream: Upstream, llm: ChatGateway) -> None:
    """Agent, step, thread, task and run come from LangGraph; nothing was written for it."""
    app = graph("triage", lambda state: {"messages": [llm.invoke(state["messages"])]})
    app.invoke(ASKED, {"configurable": {"thread_id": "t-7"}})
    found = who(upstream.log[0])
    assert found["agent"] == "bugbot"
    assert found["step"] == "triage"
    assert found["thread"] == "t-7"
    assert found["path"] == "triage"
    assert found["run"]
    assert found["idempotency-key"].startswith(found["task"] + ":")


@pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream", "batch", "abatch", "parallel"])
def test_every_way_of_calling_says_who_calls(upstream: Upstream, llm: ChatGateway, way: str) -> None:
    """Sync and async, whole and streamed, alone and in batches."""

    def plain(state: Any) -> Any:
        if way == "stream":
            assert "".join(chunk.text for chunk in llm.stream("hi")) == ANSWER
        elif way == "batch":
            assert len(llm.batch(["a", "b"])) == 2
        elif way == "parallel":
            assert len(RunnableParallel(a=llm, b=llm).invoke("hi")) == 2
        else:
            assert llm.invoke("hi").text == ANSWER
        return {}

    async def waiting(state: Any) -> Any:
        if way == "astream":
            assert "".join([chunk.text async for chunk in llm.astream("hi")]) == ANSWER
        elif way == "abatch":
            assert len(await llm.abatch(["a", "b"])) == 2
        else:
            assert (await llm.ainvoke("hi")).text == ANSWER
        return {}

    if way.startswith("a"):
        asyncio.run(graph("plan", waiting).ainvoke(ASKED))
    else:
        graph("plan", plain).invoke(ASKED)
    assert upstream.log
    assert {(who(seen)["agent"], who(seen)["step"]) for seen in upstream.log} == {("bugbot", "plan")}
    assert len({who(seen)["run"] for seen in upstream.log}) == 1


def test_two_nodes_are_two_steps_of_one_run(upstream: Upstream, llm: ChatGateway) -> None:
    """The run is the graph's; the steps are its nodes."""
    say = lambda state: {"messages": [llm.invoke("hi")]}  # noqa: E731
    app = StateGraph(MessagesState).add_node("plan", say).add_node("edit", say)
    app.add_edge(START, "plan").add_edge("plan", "edit").compile(name="coder").invoke(ASKED)
    assert [who(seen)["step"] for seen in upstream.log] == ["plan", "edit"]
    assert len({who(seen)["run"] for seen in upstream.log}) == 1


class Fan(TypedDict):
    """State of a fan-out."""

    said: Annotated[list[str], operator.add]


def test_a_fan_out_keeps_its_identity(upstream: Upstream, llm: ChatGateway) -> None:
    """Three tasks at once: one step, three tasks."""
    app = StateGraph(Fan).add_node("work", lambda state: {"said": [llm.invoke("hi").text]})
    app.add_conditional_edges(START, lambda state: [Send("work", {"said": []}) for _ in range(3)], ["work"])
    app.compile(name="bugbot").invoke({"said": []})
    assert {who(seen)["step"] for seen in upstream.log} == {"work"}
    assert len({who(seen)["task"] for seen in upstream.log}) == 3


def test_a_node_in_a_subgraph_says_its_way_down(upstream: Upstream, llm: ChatGateway) -> None:
    """The path names every level, and none of their random parts."""
    inner = StateGraph(MessagesState).add_node("inner", lambda state: {"messages": [llm.invoke("hi")]})
    graph("fix", inner.add_edge(START, "inner").compile(name="child")).invoke(ASKED)
    found = who(upstream.log[0])
    assert (found["agent"], found["step"], found["path"]) == ("bugbot", "inner", "fix/inner")


def test_a_label_of_the_node_or_the_call_names_the_step(upstream: Upstream, llm: ChatGateway) -> None:
    """Call before node, node's label before node's name; streaming too."""

    def node(state: Any) -> Any:
        llm.invoke("hi")
        list(llm.stream("hi", config={"metadata": {"step": "draft"}}))
        return {}

    graph("x", node, metadata={"step": "plan"}).invoke(ASKED)
    assert [who(seen)["step"] for seen in upstream.log] == ["plan", "draft"]


def test_a_retried_node_repeats_its_key_and_says_that_it_is_a_retry(upstream: Upstream, llm: ChatGateway) -> None:
    """Same task, same key, attempt 2."""

    def node(state: Any) -> Any:
        llm.invoke("hi")
        if len(upstream.log) < 2:
            raise ConnectionError("once")
        return {}

    graph("x", node, retry_policy=RetryPolicy(initial_interval=0.01, retry_on=ConnectionError)).invoke(ASKED)
    first, second = map(who, upstream.log)
    assert first["idempotency-key"] == second["idempotency-key"]
    assert "attempt" not in first
    assert second["attempt"] == "2"


def test_a_resumed_graph_repeats_its_key(upstream: Upstream, llm: ChatGateway) -> None:
    """What ran before the interrupt runs again: it is the same work."""

    def node(state: Any) -> Any:
        llm.invoke("hi")
        return {"messages": [AIMessage(interrupt("ok?"))]}

    app = (
        StateGraph(MessagesState)
        .add_node("ask", node)
        .add_edge(START, "ask")
        .compile(checkpointer=InMemorySaver(), name="bot")
    )
    place = {"configurable": {"thread_id": "t"}}
    app.invoke(ASKED, place)
    app.invoke(Command(resume="yes"), place)
    first, second = map(who, upstream.log)
    assert first["idempotency-key"] == second["idempotency-key"]


def test_other_parameters_are_other_work(upstream: Upstream, llm: ChatGateway) -> None:
    """The key covers messages, tools and parameters."""

    def node(state: Any) -> Any:
        llm.invoke("hi")
        llm.invoke("hello")
        llm.invoke("hi", temperature=0.5)
        ChatGateway("fx-ok", base_url=upstream.url, api_key="any", temperature=0.7).invoke("hi")
        return {}

    graph("x", node).invoke(ASKED)
    assert len({who(seen)["idempotency-key"] for seen in upstream.log}) == 4


def test_a_thread_without_context_claims_nothing(upstream: Upstream, llm: ChatGateway) -> None:
    """Lost context means no identity; never somebody else's."""

    def node(state: Any) -> Any:
        llm.invoke("inside")
        thread = threading.Thread(target=lambda: llm.invoke("outside"))
        thread.start()
        thread.join()
        return {}

    graph("x", node).invoke(ASKED)
    inside, outside = upstream.log
    assert who(inside)["step"] == "x"
    assert not who(outside)
    llm.invoke("after")
    assert not who(upstream.log[-1])


def test_a_budget_in_the_graphs_context_travels(upstream: Upstream, llm: ChatGateway) -> None:
    """`budget_usd` of the context is what the run may cost."""
    graph("x", lambda state: {"messages": [llm.invoke("hi")]}).invoke(ASKED, context=Budget(0.25))
    assert who(upstream.log[0])["budget"] == "0.25 USD"


def test_a_run_of_the_sdk_around_the_graph_is_the_run(upstream: Upstream, llm: ChatGateway) -> None:
    """The user's own run wins: its id, its agent; nodes are its steps."""
    fw = Client("http://127.0.0.1:9", "any")
    with fw.run("support", budget="1 USD") as run:
        graph("triage", lambda state: {"messages": [llm.invoke("hi")]}).invoke(ASKED)
    found = who(upstream.log[0])
    assert (found["agent"], found["run"], found["step"], found["budget"]) == ("support", run.id, "triage", "1 USD")


def test_tools_and_schemas_go_out_as_they_are_bound(upstream: Upstream, llm: ChatGateway) -> None:
    """It is a ChatOpenAI: what can be bound to one can be bound to it, and identity goes with it."""

    def weather(city: str) -> str:
        """The weather of a city."""
        return city

    def node(state: Any) -> Any:
        llm.bind_tools([weather]).invoke("hi")
        return {}

    graph("x", node).invoke(ASKED)
    assert b'"weather"' in upstream.log[0].body
    assert who(upstream.log[0])["step"] == "x"


def test_a_failing_call_is_not_multiplied(upstream: Upstream) -> None:
    """The gateway retries; the client library does not on top of it."""
    with pytest.raises(Exception, match="told to say 503"):
        ChatGateway("fx-503", base_url=upstream.url, api_key="any").invoke("hi")
    assert len(upstream.log) == 1


def test_it_finds_the_gateway_of_a_client(upstream: Upstream) -> None:
    """A client says where; an asynchronous one has to be awaited."""
    root = upstream.url.removesuffix("/v1")
    with Client(root, "k-1") as fw:
        ChatGateway("fx-ok", client=fw).invoke("hi")
    assert upstream.log[0].headers["authorization"] == "Bearer k-1"

    async def awaited() -> None:
        async with AsyncClient(root, "k-2") as fw:
            with pytest.raises(TypeError, match=r"ChatGateway\.of"):
                ChatGateway("fx-ok", client=fw)  # type: ignore[arg-type]
            await (await ChatGateway.of(fw, "fx-ok")).ainvoke("hi")

    asyncio.run(awaited())
    assert upstream.log[1].headers["authorization"] == "Bearer k-2"


def test_the_decision_is_in_the_answers_metadata(upstream: Upstream, llm: ChatGateway) -> None:
    """Headers of the answer are where LangChain's users look for them."""
    assert "headers" in llm.invoke("hi").response_metadata
