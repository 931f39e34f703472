"""YAML 1.2 text to plain values, with the line of every key. `no` is a country, not False."""

from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fw_gateway.config.problems import Path, Problem

_MOST = 100_000
_DEEPEST = 50
"""Keys and levels of a document, aliases written out; nobody's config has as many, but a hostile one can."""


class NotYaml(Exception):
    """The text is not one YAML document; `problem` says where."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def parse(text: str, source: str) -> tuple[Any, dict[Path, int]]:
    """The document's value, and the line (from 1) of each of its keys and items.

    Raises:
        NotYaml: the text cannot be read; duplicate keys are an error too.
    """
    documents = parse_all(text, source)
    if len(documents) > 1:
        raise NotYaml(Problem(source, "holds more than one document.", "Split it: one document a file."))
    return documents[0] if documents else (None, {})


def parse_all(text: str, source: str) -> list[tuple[Any, dict[Path, int]]]:
    """Every document of the text, as `parse` gives one.

    Raises:
        NotYaml: the text cannot be read.
    """
    try:
        values = list(YAML(typ="safe", pure=True).load_all(text))
        nodes = list(YAML(typ="safe", pure=True).compose_all(text))
    except MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line = None if mark is None else mark.line + 1
        message = " ".join(str(part) for part in (fault.context, fault.problem) if part) or "cannot be read"
        raise NotYaml(Problem(source, f"is not YAML: {message.splitlines()[0]}.", line=line)) from None
    except (YAMLError, ValueError) as fault:
        raise NotYaml(Problem(source, f"is not YAML: {str(fault).splitlines()[0]}.")) from None
    documents = []
    for value, node in zip(values, nodes, strict=True):
        lines: dict[Path, int] = {}
        try:
            _walk(node, (), lines)
        except RecursionError:
            raise NotYaml(
                Problem(source, "is too large or refers to itself.", "Write out what its aliases stand for.")
            ) from None
        documents.append((value, lines))
    return documents


def _walk(node: Node | None, path: Path, lines: dict[Path, int]) -> None:
    if len(lines) > _MOST or len(path) > _DEEPEST:
        raise RecursionError
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key, ScalarNode):
                here = (*path, str(key.value))
                lines[here] = key.start_mark.line + 1
                _walk(value, here, lines)
    elif isinstance(node, SequenceNode):
        for index, value in enumerate(node.value):
            lines[*path, index] = value.start_mark.line + 1
            _walk(value, (*path, index), lines)
