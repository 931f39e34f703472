"""The embedded model: a file fetched and checked (`models`), llama.cpp on it in a process of its own (`process`, `server`)."""

from fw_gateway.providers.local.models import Progress, PullError, ensure, have
from fw_gateway.providers.local.process import LocalModel, LocalModelError, missing

__all__ = ["LocalModel", "LocalModelError", "Progress", "PullError", "ensure", "have", "missing"]
