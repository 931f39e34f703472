"""`fw chat`: ask the running gateway something, and see who answered, how fast, and for how much."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from fw_gateway.cli import output, remote
from fw_gateway.cli.options import Json

_TIMEOUT = 600.0
_RECEIPT = "fw-receipt"


@dataclass
class Answer:
    """One streamed answer, as far as it came."""

    text: str = ""
    model: str = ""
    finish: str = ""
    receipt: dict[str, Any] = field(default_factory=dict)


def chat(
    *,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]", help="Without one: from standard input.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", metavar="MODEL", help="`auto`, AGENT/STEP, or a model's name.")
    ] = "auto",
    system: Annotated[
        str | None, typer.Option("--system", metavar="TEXT", help="Instructions before the first word.")
    ] = None,
    policy: Annotated[str | None, typer.Option("--policy", metavar="NAME", help="The policy that chooses.")] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help="Longest answer.")] = None,
    as_json: Json = False,
) -> None:
    """Ask the gateway at FW_URL; the answer streams. With a terminal and no prompt, a conversation."""
    messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    body: dict[str, Any] = {"model": model, "messages": messages}
    if max_tokens is not None:
        body["max_tokens"] = max_tokens
    headers = {"x-fw-policy": policy} if policy else {}
    for prompt in _prompts(" ".join(words or ())):
        messages.append({"role": "user", "content": prompt})
        answer = _ask(body, headers, quiet=as_json)
        messages.append({"role": "assistant", "content": answer.text})
        if as_json:
            output.emit(
                {"text": answer.text, "model": answer.model, "finish_reason": answer.finish, "receipt": answer.receipt}
            )
        else:
            output.line()
            output.note(_foot(answer))


def _prompts(first: str) -> Iterator[str]:
    """The prompt of the command line, else of standard input, else what is typed until the end of input."""
    if first.strip():
        yield first
        return
    if not sys.stdin.isatty():
        text = sys.stdin.read().strip()
        if not text:
            raise output.Fail("there is nothing to ask.", "Write `fw chat 'Why is the sky blue?'`.", code=output.USAGE)
        yield text
        return
    output.note("Ctrl-D ends it.")
    while True:
        sys.stderr.write("> ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _ask(body: dict[str, Any], headers: dict[str, str], *, quiet: bool) -> Answer:
    answer, done = Answer(), False
    ask = {**body, "stream": True, "stream_options": {"include_usage": True}}
    try:
        for kind, text in remote.events(
            "/v1/chat/completions", ask, {"x-fw-receipt": "1", **headers}, timeout=_TIMEOUT
        ):
            if kind == "comment":
                if text.startswith(_RECEIPT):
                    answer.receipt = json.loads(text.removeprefix(_RECEIPT))
            elif text == "[DONE]":
                done = True
            else:
                piece = _read(text, answer)
                answer.text += piece
                if not quiet:
                    sys.stdout.write(piece)
                    sys.stdout.flush()
    except remote.Absent as absent:
        raise output.Fail(f"{absent}.", "Start one with `fw up`, or set FW_URL.") from None
    except ValueError:
        raise output.Fail("the gateway sent something that is no event of a chat stream.") from None
    if not done:
        raise output.Fail("the answer was cut off: the stream ended without its end mark.")
    return answer


def _read(event: str, answer: Answer) -> str:
    """Take one event in; its visible text.

    Raises:
        Fail: the event is an error.
    """
    chunk = json.loads(event)
    if "error" in chunk:
        raise output.Fail(str(chunk["error"].get("message", "the answer was cut off.")))
    answer.model = chunk.get("model") or answer.model
    text = ""
    for choice in chunk.get("choices", ()):
        text += choice.get("delta", {}).get("content") or ""
        answer.finish = choice.get("finish_reason") or answer.finish
    return text


def _foot(answer: Answer) -> str:
    """Who answered, how fast, for how much; what is not known is said to be."""
    receipt = answer.receipt
    usage = receipt.get("usage") or {}
    tokens = usage.get("completion_tokens", usage.get("output_tokens"))
    ttft, cost = receipt.get("ttft"), receipt.get("cost")
    parts = [
        str(receipt.get("model") or answer.model or "unknown model"),
        "tokens unknown" if tokens is None else f"{tokens} tokens",
        f"first after {ttft:.2f} s" if isinstance(ttft, (int, float)) else "time to first unknown",
        f"${cost}" if cost is not None else "cost unknown",
    ]
    return f"[{' · '.join(parts)}]"
