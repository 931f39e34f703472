"""Anthropic Messages as one of the wires of the form."""

from fw_gateway.providers.dialects.messages.answers import read_answer, write_answer
from fw_gateway.providers.dialects.messages.errors import error_body, read_error
from fw_gateway.providers.dialects.messages.hearing import Reader
from fw_gateway.providers.dialects.messages.manners import Manners, manners_of
from fw_gateway.providers.dialects.messages.reading import read_request
from fw_gateway.providers.dialects.messages.telling import Writer
from fw_gateway.providers.dialects.messages.thoughts import kept_from
from fw_gateway.providers.dialects.messages.words import BUDGETS, NAME
from fw_gateway.providers.dialects.messages.writing import write_request

name = NAME

__all__ = [
    "BUDGETS",
    "Manners",
    "Reader",
    "Writer",
    "error_body",
    "kept_from",
    "manners_of",
    "name",
    "read_answer",
    "read_error",
    "read_request",
    "write_answer",
    "write_request",
]
