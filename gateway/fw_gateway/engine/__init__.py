"""From a call to a reply: plan, draw what is left to chance, walk, commit, and write one record when it is over."""

from fw_gateway.engine.core import Engine

__all__ = ["Engine"]
