"""The wire, as types: one module per endpoint, shared by client and gateway. Unknown fields are kept, never an error.

The modules load when they are first used: building pydantic's machinery is half of what importing the SDK would cost.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwsdk.types import chat, embeddings, explain, models, outcomes

__all__ = ["chat", "embeddings", "explain", "models", "outcomes"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"fwsdk.types.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
