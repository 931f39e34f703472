"""The agent itself: an ordinary LangGraph graph; nothing in it speaks of policies, headers or spans."""

import json
from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

CATEGORIES = ("delivery", "refund", "account", "other")
ORDERS = {
    "1042": "Order 1042: a desk lamp. Sent on Monday. The parcel is at the depot in Lyon. It is delayed by two days. New date: Friday.",
}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "triage",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"category": {"type": "string", "enum": list(CATEGORIES)}},
            "required": ["category"],
            "additionalProperties": False,
        },
    },
}


class Case(TypedDict, total=False):
    """What is known of a case: the customer's words, then what each step found."""

    message: str
    order: str
    category: str
    findings: str
    answer: str


def build(llm: BaseChatModel) -> CompiledStateGraph[Case, Any, Any, Any]:
    """The graph, compiled under the agent's name."""

    def triage(case: Case) -> Case:
        ask = f"Which category is this message about: {', '.join(CATEGORIES)}? Answer in JSON.\n\nMessage: {case['message']}"
        answer = llm.invoke([HumanMessage(ask)], response_format=SCHEMA, max_tokens=24, temperature=0)
        return {"category": str(json.loads(answer.text)["category"])}

    def investigate(case: Case) -> Case:
        record = ORDERS.get(case["order"], "There is no such order.")
        ask = f"{record}\n\nIn one short sentence: where is the parcel, and when does it arrive?"
        answer = llm.invoke([HumanMessage(ask)], max_tokens=48, temperature=0)
        return {"findings": answer.text.strip()}

    def reply(case: Case) -> Case:
        say = "You answer customers of a shop. Be kind, and keep it to two sentences."
        ask = f"The customer writes: {case['message']}\nWhat we know: {case['findings']}\nWrite the answer."
        answer = llm.invoke([SystemMessage(say), HumanMessage(ask)], max_tokens=80, temperature=0)
        return {"answer": answer.text.strip()}

    graph = StateGraph(Case)
    graph.add_node("triage", triage)
    graph.add_node("investigate", investigate)
    graph.add_node("reply", reply)
    graph.add_edge(START, "triage")
    graph.add_edge("triage", "investigate")
    graph.add_edge("investigate", "reply")
    graph.add_edge("reply", END)
    return graph.compile(name="helpdesk")
