"""The agent itself: an ordinary LangGraph graph; nothing in it speaks of policies, headers or spans."""

import json
from typing import Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

CATEGORIES = ("delivery", "refund", "account", "other")
ORDERS = {"1042": "Order 1042: a desk lamp. Status: at the depot in Lyon, two days late. Arrives on Friday."}
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


WHERE = "Where is it, and when does it arrive?"

# A model of 135 million parameters follows examples better than orders.
SORTED = (
    HumanMessage("I want my money back."),
    AIMessage('{"category": "refund"}'),
    HumanMessage("I cannot log in."),
    AIMessage('{"category": "account"}'),
)
FOUND = (
    HumanMessage(f"Order 17: a chair. Status: on a truck near Ghent. Arrives on Monday.\n{WHERE}"),
    AIMessage("The chair is on a truck near Ghent and arrives on Monday."),
)
REPLIED = (
    HumanMessage("Known: The chair is on a truck near Ghent and arrives on Monday.\nReply to Anna:"),
    AIMessage(
        "Dear Anna, thank you for your patience! The chair is on a truck near Ghent and arrives on Monday. Kind regards"
    ),
)


class Case(TypedDict, total=False):
    """What is known of a case: the customer's words, then what each step found."""

    name: str
    message: str
    order: str
    category: str
    findings: str
    answer: str


def build(llm: BaseChatModel) -> CompiledStateGraph[Case, Any, Any, Any]:
    """The graph, compiled under the agent's name."""

    def triage(state: Case) -> Case:
        ask = [
            SystemMessage("You sort messages of customers. Answer with JSON only."),
            *SORTED,
            HumanMessage(state["message"]),
        ]
        answer = llm.invoke(ask, response_format=SCHEMA, max_tokens=48, temperature=0)
        return {"category": str(json.loads(answer.text)["category"])}

    def investigate(state: Case) -> Case:
        record = ORDERS.get(state["order"], "There is no such order.")
        answer = llm.invoke([*FOUND, HumanMessage(f"{record}\n{WHERE}")], max_tokens=48, temperature=0)
        return {"findings": answer.text.strip()}

    def reply(state: Case) -> Case:
        ask = f"Known: {state['findings']}\nReply to {state['name']}:"
        answer = llm.invoke([*REPLIED, HumanMessage(ask)], max_tokens=64, temperature=0)
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
