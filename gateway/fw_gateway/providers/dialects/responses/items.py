"""Items of the Responses API, which stand in one row, to and from the turns of the form."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from fw_gateway.providers import form
from fw_gateway.providers.dialects.responses.parts import (
    ITEM,
    NAME,
    Path,
    continues,
    read_part,
    read_reasoning,
    rest,
    text,
    write_part,
    write_reasoning,
)
from fw_gateway.providers.openai import BREAKPOINT, sisters

MUTE: Final = ("id", "status")
"""Members of an item that say nothing to a model."""

Said = form.Text | form.Refusal | form.Image | form.File | form.Audio
"""Parts that stand in a message."""

_TOLD: Final = frozenset({"system", "developer", "user"})


@dataclass(slots=True)
class Turns:
    """Gathers items into turns: what the model says and calls without being answered is one."""

    done: list[form.Message] = field(default_factory=list)
    open: list[form.Part] = field(default_factory=list)
    """Parts of the assistant's turn that goes on."""
    at: str = ""
    """Where that turn began."""

    def add(self, item: Any, where: str) -> None:
        """Take the next item.

        Raises:
            Unreadable: it is no item.
        """
        if not isinstance(item, Mapping):
            raise form.Unreadable(where, "must be an object")
        kind = item.get("type")
        if is_message(item):
            self._message(item, where)
        elif kind == "function_call_output" and isinstance(item.get("call_id"), str):
            self.close()
            self.done.append(form.Message("tool", (_read_result(item, where),), at=where))
        elif kind == "mcp_approval_response" or str(kind).endswith("_output"):
            self.close()
            self.done.append(form.Message("tool", (form.Opaque(NAME, item, at=where),), at=where))
        else:
            self._say(read_spoken(item, where, self.open[-1:]), where)

    def close(self) -> None:
        """The assistant's turn is over."""
        if not self.open:
            return
        first = self.open[0]
        found = form.Message("assistant", tuple(self.open), at=self.at)
        if len(self.open) == 1 and isinstance(first, form.Text) and _plain(first):
            members = first.extra[ITEM].members
            found = form.Message("assistant", first.text, extra=rest(members, "content"), at=found.at)
        self.done.append(found)
        self.open = []

    def _message(self, item: Mapping[str, Any], where: str) -> None:
        role, content = item.get("role"), item.get("content")
        if role == "assistant":
            self._say(read_message(item, where), where)
            return
        if role not in _TOLD:
            raise form.Unreadable(f"{where}.role", "must be system, developer, user or assistant")
        self.close()
        parts = content if isinstance(content, str) else _read_parts(content, f"{where}.content")
        self.done.append(form.Message(role, parts, extra=_members(item), at=where))

    def _say(self, parts: tuple[form.Part, ...], where: str) -> None:
        """More of the turn, or of the next one: words after words begin a turn, unless a call waits for its answer."""
        calls = any(isinstance(part, form.ToolCall) for part in self.open)
        spoke = any(isinstance(part, form.Text | form.Refusal) for part in self.open)
        if spoke and not calls and not isinstance(parts[0], form.ToolCall):
            self.close()
        self.at = self.at if self.open else where
        self.open += parts


def is_message(item: Mapping[str, Any]) -> bool:
    """Whether an item is a message; one that does not say what it is, is one when it has a role."""
    return item.get("type") == "message" or (item.get("type") is None and "role" in item)


def _members(item: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a message item beside what is said. That it says its type, or does not, is how it is spelt."""
    return {"type": form.Spelt(item.get("type")), **rest(item, "type", "role", "content", mute=MUTE)}


def _plain(part: form.Text) -> bool:
    """Whether a text is all that its message says, and was no list of parts."""
    return part.extra.keys() == {ITEM} and "content" in part.extra[ITEM].members


def _read_parts(content: Any, where: str) -> tuple[form.Part, ...]:
    if not isinstance(content, list | tuple):
        raise form.Unreadable(where, "must be a text or a list of parts")
    return tuple(read_part(part, f"{where}[{index}]") for index, part in enumerate(content))


def _read_result(item: Mapping[str, Any], where: str) -> form.ToolResult:
    output = item.get("output")
    parts = output if isinstance(output, str) else _read_parts(output, f"{where}.output")
    return form.ToolResult(item["call_id"], parts, extra=rest(item, "type", "call_id", "output", mute=MUTE), at=where)


def read_message(item: Mapping[str, Any], where: str) -> tuple[form.Part, ...]:
    """The parts of an assistant's message; its own members go with the first of them.

    Raises:
        Unreadable: it is no message.
    """
    content, members = item.get("content"), _members(item)
    if isinstance(content, str):
        return (form.Text(content, {ITEM: form.Rest({**members, "content": form.Spelt("text")})}, at=where),)
    parts = _read_parts(content, f"{where}.content")
    if not parts or not all(isinstance(part, Said) for part in parts):
        return (form.Opaque(NAME, item, at=where),)
    first: Any = parts[0]
    return (replace(first, extra={**first.extra, ITEM: form.Rest(members)}), *parts[1:])


def read_spoken(item: Mapping[str, Any], where: str, before: Sequence[form.Part] = ()) -> tuple[form.Part, ...]:
    """The parts of any item that the model made; one that the form has no word for is opaque.

    `before`: what stands right before it in the turn, if anything.

    Raises:
        Unreadable: it lacks what its kind must have.
    """
    match item.get("type"):
        case "message":
            return read_message(item, where)
        case "function_call":
            call, name, arguments = (text(item, name, where) for name in ("call_id", "name", "arguments"))
            extra = rest(item, "type", "call_id", "name", "arguments", mute=MUTE)
            return (form.ToolCall(call, name, arguments, extra, at=where),)
        case "reasoning":
            parts = read_reasoning(item, where)
            last = before[-1] if before else None
            if parts and not (isinstance(last, form.Reasoning) and continues(parts[0], last, own=True)):
                return parts
        case _:
            pass
    return (form.Opaque(NAME, item, at=where),)


def write_items(
    messages: Sequence[form.Message], dialect: str, losses: form.Losses, *, first: int = 0
) -> list[dict[str, Any]]:
    """Turns of a request of `dialect` as items; `first` is the number of the first one among all."""
    shared = (BREAKPOINT,) if sisters(dialect, NAME) else ()
    out: list[dict[str, Any]] = []
    for index, message in enumerate(messages, first):
        path = Path(message.at or f"messages[{index}]", losses, own=dialect == NAME, shared=shared)
        if message.name:
            path.lose(".name")
        if message.parts and not isinstance(message.parts, str):
            out.extend(_write_turn(message, path))
        elif message.role == "tool":
            path.lose(".content")
        else:
            content = message.parts if isinstance(message.parts, str) else []
            out.append(_message(message.role, path.keep(message.extra), content))
    return out


def _message(role: str, members: Mapping[str, Any], content: Any) -> dict[str, Any]:
    """A message item, which says its type unless it was spelt without."""
    found = {"type": "message", "role": role, "content": content, **members}
    return found if found["type"] is not None else {name: value for name, value in found.items() if name != "type"}


def _write_turn(message: form.Message, path: Path) -> Iterator[dict[str, Any]]:
    """The items of one turn, in the order of its parts."""
    told = message.role in _TOLD
    kept = path.keep(message.extra)
    for run in runs(message.parts, own=path.own, told=told):
        index, first = run[0]
        step = path.to(f".content[{index}]", first.at)
        match first:
            case form.ToolResult():
                yield _write_result(first, step)
            case form.ToolCall():
                yield write_call(first, step)
            case form.Reasoning():
                if first.maker == NAME or (path.own and not first.maker):
                    yield write_reasoning([part for _, part in run if isinstance(part, form.Reasoning)], NAME, step)
                else:
                    step.lose()  # OpenAI refuses thoughts that are not its own
            case form.Opaque(dialect=dialect, value=value) if dialect == NAME and not told:
                yield dict(value)
            case _ if message.role == "tool" or (isinstance(first, form.Opaque) and not told):
                step.lose()
            case _:
                content = [write_part(part, path.to(f".content[{n}]", part.at), spoken=not told) for n, part in run]
                if written := [each for each in content if each is not None]:
                    yield (
                        write_message(first, {**kept}, written, step)
                        if not told
                        else _message(message.role, kept, written)
                    )


def write_message(first: form.Part, members: Mapping[str, Any], content: Sequence[Any], path: Path) -> dict[str, Any]:
    """A message of the assistant that begins with the part `first`."""
    found = {**members, **path.keep({ITEM: getattr(first, "extra", form.NONE).get(ITEM, form.Rest())}).get(ITEM, {})}
    alone = found.pop("content", None)
    return _message("assistant", found, content[0]["text"] if alone else content)


def runs(parts: Sequence[form.Part] | str, *, own: bool, told: bool = False) -> Iterator[list[tuple[int, form.Part]]]:
    """Parts, numbered, that stand in one item each; `told`: in a message to the model."""
    run: list[tuple[int, form.Part]] = []
    for index, part in enumerate(parts):
        if isinstance(part, str):
            continue
        if run and not _joins(part, run[-1][1], own=own, told=told):
            yield run
            run = []
        run.append((index, part))
    if run:
        yield run


def _joins(part: form.Part, before: form.Part, *, own: bool, told: bool) -> bool:
    """Whether `part` stands in the item of the one before it."""
    if isinstance(part, form.Reasoning) and isinstance(before, form.Reasoning):
        return continues(part, before, own=own)
    content: Any = Said | form.Opaque if told else Said
    return isinstance(part, content) and isinstance(before, content) and ITEM not in getattr(part, "extra", ())


def _write_result(part: form.ToolResult, path: Path) -> dict[str, Any]:
    if part.failed:
        path.lose(".is_error")
    output: Any = part.parts
    if not isinstance(output, str):
        written = [write_part(each, path.to(f".content[{n}]", each.at), spoken=False) for n, each in enumerate(output)]
        output = [each for each in written if each is not None]
    return {"type": "function_call_output", "call_id": part.call, "output": output, **path.keep(part.extra)}


def write_call(part: form.ToolCall, path: Path) -> dict[str, Any]:
    """A call of a function."""
    found = {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
    return found | path.keep(part.extra)
