"""Two LangGraph nodes, two steps: the graph's name is the agent, the node's name the step. Needs a gateway: `fw up`."""

from typing import Any

from langgraph.graph import START, MessagesState, StateGraph

from fw_agents.langgraph import ChatGateway

llm = ChatGateway("auto", max_tokens=60)  # FW_URL, FW_API_KEY; the policy chooses the model, step by step


def triage(state: MessagesState) -> dict[str, Any]:
    """The queue this belongs to."""
    return {"messages": [llm.invoke([*state["messages"], ("user", "In one word: delivery, refund or account?")])]}


def reply(state: MessagesState) -> dict[str, Any]:
    """What the customer reads."""
    return {"messages": [llm.invoke([*state["messages"], ("user", "Answer the customer in one sentence.")])]}


graph = StateGraph(MessagesState).add_node("triage", triage).add_node("reply", reply)
app = graph.add_edge(START, "triage").add_edge("triage", "reply").compile(name="support")

if __name__ == "__main__":
    found = app.invoke({"messages": [("user", "Where is my parcel?")]})
    for message in found["messages"][1:]:
        headers = {name.lower(): value for name, value in message.response_metadata.get("headers", {}).items()}
        print(f"{headers.get('x-fw-model')}: {message.text}")
        print(f"  why: fw explain decision {headers.get('x-fw-decision-id')}")
