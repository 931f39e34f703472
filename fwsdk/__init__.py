"""Say what a step of your agent needs; get the answer that meets it, and why it was answered that way.

from fwsdk import Client

fw = Client()
with fw.run("coding", budget="2 USD") as run:
    with run.step("plan"):
        plan = fw.chat("Why does test_x fail?")
    run.outcome(tests_pass=True)
print(run.explain(), run.cost)
"""

from typing import TYPE_CHECKING, Any

from fwsdk import types
from fwsdk._client import AsyncClient
from fwsdk._money import Money
from fwsdk._reply import Conversation, Reply
from fwsdk._stream import AsyncStream
from fwsdk._sync import Client, Run, Stream
from fwsdk.errors import (
    APIError,
    BadRequest,
    BudgetExceeded,
    ConnectionFailed,
    DeadlineExceeded,
    Forbidden,
    FwError,
    InvalidReply,
    MissingExtra,
    NetworkForbidden,
    NoCandidate,
    NotFound,
    RateLimited,
    ServerError,
    StreamInterrupted,
    Unauthorized,
)
from fwsdk.run import AsyncRun, Step

if TYPE_CHECKING:
    from fwsdk.types.chat import ToolCall, Usage
    from fwsdk.types.embeddings import Embeddings
    from fwsdk.types.explain import Explanation
    from fwsdk.types.models import Model

__all__ = [
    "APIError",
    "AsyncClient",
    "AsyncRun",
    "AsyncStream",
    "BadRequest",
    "BudgetExceeded",
    "Client",
    "ConnectionFailed",
    "Conversation",
    "DeadlineExceeded",
    "Embeddings",
    "Explanation",
    "Forbidden",
    "FwError",
    "InvalidReply",
    "MissingExtra",
    "Model",
    "Money",
    "NetworkForbidden",
    "NoCandidate",
    "NotFound",
    "RateLimited",
    "Reply",
    "Run",
    "ServerError",
    "Step",
    "Stream",
    "StreamInterrupted",
    "ToolCall",
    "Unauthorized",
    "Usage",
]

_TYPES = {"ToolCall": "chat", "Usage": "chat", "Embeddings": "embeddings", "Explanation": "explain", "Model": "models"}
"""Names that load when they are first asked for; see `fwsdk.types`."""


def __getattr__(name: str) -> Any:
    if name in _TYPES:
        return getattr(getattr(types, _TYPES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
