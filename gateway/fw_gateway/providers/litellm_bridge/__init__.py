"""Providers that speak a protocol of their own (Anthropic, Gemini, Bedrock, ...), through litellm in a process of its own.

litellm pins what others need, loads for seconds and takes tens of megabytes, so it is neither imported here nor installed with the gateway:
the process runs in the interpreter that `FW_LITELLM_PYTHON` names. To an attempt it is one more OpenAI-compatible upstream.
"""

from fw_gateway.providers.litellm_bridge.bridge import Bridge, base_url, interpreter, missing

__all__ = ["Bridge", "base_url", "interpreter", "missing"]
