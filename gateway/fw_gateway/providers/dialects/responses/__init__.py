"""The OpenAI Responses protocol: requests, answers and streams, to and from the form. Pure."""

from typing import Final

from fw_gateway.providers.dialects.responses.answer import read_answer, write_answer
from fw_gateway.providers.dialects.responses.parts import NAME, sealed_elsewhere
from fw_gateway.providers.dialects.responses.reader import Reader
from fw_gateway.providers.dialects.responses.request import read_request, stateful, write_request
from fw_gateway.providers.dialects.responses.writer import Writer
from fw_gateway.providers.openai import error_body, read_error

name: Final = NAME

__all__ = [
    "Reader",
    "Writer",
    "error_body",
    "name",
    "read_answer",
    "read_error",
    "read_request",
    "sealed_elsewhere",
    "stateful",
    "write_answer",
    "write_request",
]
