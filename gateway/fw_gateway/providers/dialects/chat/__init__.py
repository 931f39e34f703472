"""OpenAI Chat Completions as one of the wires of the form."""

from fw_gateway.providers.dialects.chat.answers import read_answer, write_answer
from fw_gateway.providers.dialects.chat.hearing import Reader
from fw_gateway.providers.dialects.chat.reading import read_request
from fw_gateway.providers.dialects.chat.telling import Writer
from fw_gateway.providers.dialects.chat.words import BEYOND, NAME
from fw_gateway.providers.dialects.chat.writing import write_request
from fw_gateway.providers.openai import error_body, read_error

name = NAME

__all__ = [
    "BEYOND",
    "Reader",
    "Writer",
    "error_body",
    "name",
    "read_answer",
    "read_error",
    "read_request",
    "write_answer",
    "write_request",
]
