"""LangChain's ChatOpenAI and ChatAnthropic, unmodified, before every protocol."""

from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from real_servers import Server

from tests.clients.conftest import KEY


@tool
def weather(city: str) -> str:
    """Look out."""
    return f"rain in {city}"


@pytest.fixture(params=["ChatOpenAI", "ChatOpenAI-responses", "ChatAnthropic"])
def model(request: pytest.FixtureRequest, gateway: Server, back: str) -> Any:
    """One of them."""
    if request.param == "ChatAnthropic":
        return ChatAnthropic(model=back, base_url=gateway.root, api_key=KEY, max_retries=0, max_tokens=50)
    responses = request.param.endswith("responses")
    return ChatOpenAI(model=back, base_url=gateway.url, api_key=KEY, max_retries=0, use_responses_api=responses)


@pytest.mark.asyncio(loop_scope="session")  # LangChain keeps its connections for longer than one test
async def test_it_answers_and_streams(model: Any) -> None:
    """Invoke and astream give the same words, and usage."""
    answer = model.invoke("Hi")
    assert answer.text == "Hello from here"
    assert answer.usage_metadata["output_tokens"] == 4
    assert "".join([chunk.text async for chunk in model.astream("Hi")]) == "Hello from here"


def test_tools_are_called_and_answered(model: Any) -> None:
    """Bound tools come back as calls; their results are taken."""
    bound = model.bind_tools([weather])
    asked = HumanMessage("weather in Oslo and Rome")
    said = bound.invoke([asked])
    assert [(call["name"], call["args"]) for call in said.tool_calls] == [
        ("weather", {"city": "Oslo"}),
        ("weather", {"city": "Rome"}),
    ]
    results = [ToolMessage(weather.invoke(call["args"]), tool_call_id=call["id"]) for call in said.tool_calls]
    assert bound.invoke([asked, said, *results]).text == "Hello from here"
