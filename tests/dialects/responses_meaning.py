"""What a body of the Responses API says, in one spelling out of several that mean the same, with the place of everything."""

import copy
import re
from collections.abc import Container, Iterator, Sequence
from typing import Any

from fw_gateway.providers.wire import object_of

PLACE = "@"
Body = dict[str, Any]
_SILENT: Body = {
    "stream": False,
    "tools": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "metadata": {},
    "reasoning": {},
    "text": {},
    "include": [],
    "store": False,
    "background": False,
    "top_logprobs": 0,
}


def request(body: Body, *, join: bool = False) -> Body:
    """A request; its input is one row of parts and calls, wherever turns and messages begin. `join`: so are the refusals of a message."""
    body = _without(copy.deepcopy(body), _SILENT)
    body.pop("stream_options", None)
    body["text"] = _without(body.get("text", {}), {"format": {"type": "text"}})
    if isinstance(body["text"].get("format"), dict):
        body["text"]["format"] = _without(body["text"]["format"], {})
        body["text"]["format"].pop("strict", None)  # one of the protocols always is
    body["reasoning"] = _without(body.get("reasoning", {}), {})
    if body.get("user") is None and "safety_identifier" in body:
        body["user"] = body.pop("safety_identifier")
    if body.get("user") == body.get("safety_identifier"):
        body.pop("safety_identifier", None)
    body["tools"] = [_tool(tool, f"tools[{n}]") for n, tool in enumerate(body.get("tools", []))]
    said: list[tuple[str, Any]] = []
    if "instructions" in body:
        said.append(("instructions", {"role": "system", "content": body.pop("instructions")}))
    found = body["input"]
    said += [("input", {"role": "user", "content": found})] if isinstance(found, str) else []
    said += [(f"input[{n}]", item) for n, item in enumerate(found)] if not isinstance(found, str) else []
    entries = [entry for place, item in said for entry in _entries(item, place)]
    body["input"] = _joined(entries, ("refusal",), within=True) if join else entries
    return body


def _joined(entries: list[Body], kinds: tuple[str, ...], *, within: bool = False) -> list[Body]:
    """Words of one kind in a row (`within` a message) are one; what the later ones say of themselves is left out."""
    out: list[Body] = []
    for entry in entries:
        kind = entry.get("type")
        near = bool(out) and out[-1].get("type") == kind and (not within or _message(out[-1]) == _message(entry))
        if kind in kinds and near:
            likely = [*out[-1].get("logprobs", ()), *entry.get("logprobs", ())]
            out[-1] = {**out[-1], kind: out[-1][kind] + entry[kind], **({"logprobs": likely} if likely else {})}
        else:
            out.append(entry)
    return out


def _message(entry: Body) -> str:
    return str(entry.get(PLACE)).partition(".content[")[0]


def output(body: Body, *, plainly: bool = False, gone: Sequence[str] = (), kinds: Container[str] = ()) -> list[Body]:
    """What an answer says. Thoughts are thoughts, in short or not; `plainly`: a refusal is words like others.

    What stood at one of the places `gone`, and is of none of the `kinds` that there are behind, does not part the words around it; nor is
    how likely words were, where that is gone, joined to what the words before say of it.
    """
    found = [entry for n, item in enumerate(copy.deepcopy(body["output"])) for entry in _entries(item, f"output[{n}]")]
    for entry in found:
        if entry["type"] == "reasoning":
            said = [part["text"] for name in ("summary", "content") for part in entry.pop(name, [])]
            entry.pop("id", None)
            if str(entry.get("encrypted_content")).startswith("fw1."):
                del entry["encrypted_content"]  # ours
            entry["thoughts"] = "".join(said)
        elif plainly and entry["type"] == "refusal":
            entry |= {"type": "text", "text": entry.pop("refusal")}
    found = [
        entry for entry in found if entry["type"] != "reasoning" or entry["thoughts"] or "encrypted_content" in entry
    ]
    found = [entry for entry in found if entry[PLACE] not in gone or entry["type"] in kinds]
    for entry in found:
        if f"{entry[PLACE]}.logprobs" in gone:
            entry.pop("logprobs", None)
    return _joined(found, ("text", "refusal"))


def _tool(tool: Body, place: str) -> Body:
    """A tool without what is false; a function says whether it is strict in one way, and what it takes."""
    found = {PLACE: place, **{name: value for name, value in tool.items() if value is not None and value is not False}}
    if tool["type"] == "function":
        found.pop("strict", None)
        found["parameters"] = found.get("parameters") or {"type": "object", "properties": {}}
    return found


def _without(found: Body, silent: Body) -> Body:
    return {n: v for n, v in found.items() if v is not None and not (n in silent and silent[n] == v)}


def _entries(item: Body, place: str) -> Iterator[Body]:
    """An item without what says nothing; of a message, each part, the first with what the message says of itself."""
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "message":
        role = "system" if item["role"] == "developer" else item["role"]
        more = _without({n: v for n, v in item.items() if n not in {"type", "role", "content", "id", "status"}}, {})
        for part in _parts(item["content"], place, "content"):
            yield {"role": role, **part, **more}
            more = {}
        return
    quiet = {"id", "status"} if kind in {"function_call", "function_call_output"} else {"status"}
    found = _without({n: v for n, v in item.items() if n not in quiet}, {"content": [], "encrypted_content": ""})
    if kind == "function_call":
        parsed = object_of(found["arguments"])
        found["arguments"] = found["arguments"] if parsed is None else parsed
    if kind == "function_call_output":
        found["output"] = list(_parts(found["output"], place, "output"))
    yield {PLACE: place, **found}


def _parts(found: Any, place: str, member: str) -> Iterator[Body]:
    if isinstance(found, str):
        found, places = [{"type": "text", "text": found}], [place]
    else:
        places = [f"{place}.{member}[{n}]" for n in range(len(found))]
    for one, at in zip(found, places, strict=True):
        part = _without(one, {"annotations": [], "logprobs": []})
        words = part["type"] in {"input_text", "output_text", "text"}
        if not words or part["text"]:
            yield {PLACE: at, **part, **({"type": "text"} if words else {})}


def places(lost: Sequence[str], body: Body, holder: str = "input") -> list[str]:
    """The places that names of losses mean here.

    What a message says of itself stands with its first part. Where the order of a turn is lost, it is that of all its items.
    """
    out = [re.sub(r"\.item\b", "", name) for name in lost]
    items = body["input"] if isinstance(body["input"], list) else []
    if f"{holder}.content" in lost:
        out += [f"{holder}[{number}]" for number in range(len(items))]
    for name in lost:
        if turn := re.fullmatch(rf"{holder}\[(\d+)\]\.content", name):
            for number in range(int(turn[1]), len(items)):
                if not _spoken(items[number]):
                    break
                out.append(f"{holder}[{number}]")
    first = [
        re.sub(rf"^({holder}\[\d+\])(?:\.content\[\d+\])?\.(\w+)$", rf"\1.content[{n}].\2", name)
        for name in out
        for n in range(3)
    ]
    return [*out, *first]


def _spoken(item: Body) -> bool:
    return item.get("role", "assistant") == "assistant" and not str(item.get("type")).endswith("_output")
