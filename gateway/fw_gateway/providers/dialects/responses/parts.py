"""Content parts and reasoning of the Responses API, to and from the form."""

import base64
import binascii
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from fw_gateway.providers import form
from fw_gateway.providers.wire import data_url, lose, packed, put, split_data_url, unpacked

NAME: Final = "openai_responses"

ITEM: Final = "item"
"""Where the first part of an assistant's message item keeps the item's own members (type, id, status, phase)."""

SEAL: Final = "fw1."
"""How `encrypted_content` begins that holds another provider's signature, for its way back to it."""

_EMPTY: Final = ("annotations", "logprobs")
"""Lists of a text that say nothing when they are empty."""


class Path:
    """Where a writer stands: what is lost there, and whether the words are its own."""

    __slots__ = ("losses", "own", "shared", "where")

    def __init__(self, where: str, losses: form.Losses, *, own: bool, shared: Collection[str] = ()) -> None:
        """`own`: what is written was read by this dialect, so that `extra` are its words; `shared`: words that are the other's too."""
        self.where = where
        self.losses = losses
        self.own = own
        self.shared = shared

    def to(self, step: str, at: str = "") -> "Path":
        """One step further; `at`: where that was read from, when it is known."""
        return Path(
            at or (f"{self.where}{step}" if self.where else step.lstrip(".")),
            self.losses,
            own=self.own,
            shared=self.shared,
        )

    def lose(self, step: str = "") -> None:
        """Name what stands here, or one step further, as lost."""
        self.losses.add(self.to(step).where)

    def keep(self, extra: form.Extra, *but: str) -> dict[str, Any]:
        """Members that find their way back; those of another dialect are lost."""
        out: dict[str, Any] = {}
        found = {name: value for name, value in extra.items() if name not in but}
        if self.own:
            put(out, found)
        else:
            said = {name: value for name, value in found.items() if name in self.shared and value is not None}
            out |= {name: value for name, value in said.items() if not isinstance(value, form.Spelt)}
            lose(self.losses, self.where, found, self.shared)
        return out


def rest(found: Mapping[str, Any], *known: str, mute: Sequence[str] = ()) -> dict[str, Any]:
    """The other members, and those that are null, as they stood; what is `mute` says nothing."""
    return {
        name: form.Spelt(value) if name in mute else value
        for name, value in found.items()
        if name not in known or name in mute or value is None
    }


def merged(under: Any, over: Any) -> Any:
    """`over` laid over `under`, objects member by member."""
    if isinstance(under, Mapping) and isinstance(over, Mapping):
        return {**under, **{name: merged(under.get(name), value) for name, value in over.items()}}
    return over


def text(found: Mapping[str, Any], name: str, where: str) -> str:
    """A member that must be a text.

    Raises:
        Unreadable: it is none.
    """
    value = found.get(name)
    if not isinstance(value, str):
        raise form.Unreadable(f"{where}.{name}" if where else name, "must be a text")
    return value


def maybe(found: Mapping[str, Any], name: str, where: str) -> str:
    """A member that is a text or is not there ("").

    Raises:
        Unreadable: it is something else.
    """
    return "" if found.get(name) is None else text(found, name, where)


def read_part(found: Any, where: str) -> form.Part:
    """One content part; a kind that the form has no word for is opaque.

    Raises:
        Unreadable: it is no part, or lacks what its kind must have.
    """
    if not isinstance(found, Mapping):
        raise form.Unreadable(where, "must be an object")
    match found.get("type"):
        case "input_text" | "output_text":
            empty, likely = [name for name in _EMPTY if not found.get(name)], found.get("logprobs")
            likely = likely if isinstance(likely, list) and likely else None
            extra = rest(found, "type", "text", *(["logprobs"] if likely else []), mute=empty)
            return form.Text(text(found, "text", where), extra, where, likely)
        case "refusal":
            return form.Refusal(text(found, "refusal", where), rest(found, "type", "refusal"), at=where)
        case "input_image":
            return _read_image(found, where)
        case "input_file":
            return _read_file(found, where)
        case "input_audio" if _plain_audio(found.get("input_audio")):
            sound = found["input_audio"]
            return form.Audio(sound["data"], sound["format"], rest(found, "type", "input_audio"), at=where)
        case _:
            return form.Opaque(NAME, found, at=where)


def _plain_audio(found: Any) -> bool:
    return (
        isinstance(found, Mapping)
        and found.keys() == {"data", "format"}
        and all(isinstance(v, str) for v in found.values())
    )


def _read_image(found: Mapping[str, Any], where: str) -> form.Image:
    url = maybe(found, "image_url", where)
    data = split_data_url(url)
    return form.Image(
        url="" if data else url,
        data=data[1] if data else "",
        media=data[0] if data else "",
        file=maybe(found, "file_id", where),
        detail=maybe(found, "detail", where),
        extra=rest(found, "type", "image_url", "file_id", "detail"),
        at=where,
    )


def _read_file(found: Mapping[str, Any], where: str) -> form.File:
    data, media = maybe(found, "file_data", where), ""
    if whole := split_data_url(data):
        plain = unpacked(whole[1]) if whole[0] == "text/plain" else whole[1]
        if plain is not None:
            media, data = whole[0], plain
    return form.File(
        url=maybe(found, "file_url", where),
        data=data,
        media=media,
        file=maybe(found, "file_id", where),
        name=maybe(found, "filename", where),
        extra=rest(found, "type", "file_data", "file_url", "file_id", "filename"),
        at=where,
    )


def write_part(part: form.Part, path: Path, *, spoken: bool) -> dict[str, Any] | None:
    """One content part, `spoken` by the model or said to it; None when it has no word here, which is then named."""
    kept = path.keep(getattr(part, "extra", form.NONE), ITEM)
    match part:
        case form.Text() if spoken:
            found: dict[str, Any] = {
                "type": "output_text",
                "text": part.text,
                **({} if path.own else {"annotations": []}),
            }
        case form.Text():
            found = {"type": "input_text", "text": part.text}
        case form.Refusal():
            found = {"type": "refusal", "refusal": part.text}
        case form.Image():
            url = data_url(part.media or "application/octet-stream", part.data) if part.data else part.url
            found = {"type": "input_image", **_said(image_url=url, file_id=part.file, detail=part.detail)}
        case form.File():
            places = _said(file_data=_file_data(part), file_url=part.url, file_id=part.file, filename=part.name)
            found = {"type": "input_file", **places}
        case form.Audio():
            found = {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        case form.Opaque(dialect=dialect, value=value) if dialect == NAME:
            found = dict(value)
        case _:
            path.lose()
            return None
    if isinstance(part, form.Text) and part.logprobs:
        found["logprobs"] = [*part.logprobs]
    return found | kept


def _file_data(part: form.File) -> str:
    if not part.media:
        return part.data
    return data_url(part.media, packed(part.data) if part.media == "text/plain" else part.data)


def _said(**found: str) -> dict[str, str]:
    return {name: value for name, value in found.items() if value}


def read_reasoning(item: Mapping[str, Any], where: str) -> tuple[form.Reasoning, ...] | None:
    """The thoughts of one item: a part for each text, and one for the seal; None when it is of another shape.

    What this module sealed for another provider is opened again.
    """
    summary, content = _texts(item.get("summary"), "summary_text"), _texts(item.get("content"), "reasoning_text")
    sealed, name = item.get("encrypted_content") or "", item.get("id") or ""
    if summary is None or content is None or not isinstance(sealed, str) or not isinstance(name, str):
        return None
    if "summary" not in item:
        return None
    empty = [each for each in ("content", "encrypted_content", "id") if not item.get(each)]
    extra = rest(item, "type", "id", "summary", "content", "encrypted_content", mute=(*empty, "status"))
    parts = [
        *(form.Reasoning(text=words, id=name, summary=True, at=where) for words in summary),
        *(form.Reasoning(text=words, id=name, at=where) for words in content),
    ]
    if (opened := unseal(sealed)) is not None:
        last = parts.pop() if parts else form.Reasoning(at=where)
        parts.append(replace(last, id="", maker=opened[0], signature=opened[1], sealed=opened[2]))
        extra |= {"id": form.Spelt(name)} if name else {}  # of our own making
    elif sealed or not parts:
        parts.append(form.Reasoning(sealed=sealed, id=name, at=where))
    parts[0] = replace(parts[0], extra=extra)
    return tuple(parts)


def _texts(found: Any, kind: str) -> list[str] | None:
    """The texts of a list of them; None when anything else is in it."""
    if not isinstance(found or [], Sequence):
        return None
    out: list[str] = []
    for each in found or []:
        if not isinstance(each, Mapping) or each.keys() != {"type", "text"} or each["type"] != kind:
            return None
        if not isinstance(each["text"], str) or not each["text"]:
            return None
        out.append(each["text"])
    return out


def write_reasoning(parts: Iterable[form.Reasoning], maker: str, path: Path) -> dict[str, Any]:
    """One item of the thoughts of `maker` (a dialect); those of another provider are sealed for their way back."""
    summary: list[dict[str, str]] = []
    content: list[dict[str, str]] = []
    extra: dict[str, Any] = {}
    sealed = name = ""
    for part in parts:
        name = part.id or name
        extra |= path.keep(part.extra)
        if part.summary and part.text:
            summary.append({"type": "summary_text", "text": part.text})
        elif part.text:
            content.append({"type": "reasoning_text", "text": part.text})
        by = part.maker or maker
        if by != NAME:
            sealed = seal(part, by)
        elif part.sealed:
            sealed = part.sealed
    out: dict[str, Any] = {"type": "reasoning", "summary": summary}
    if name:
        out["id"] = name
    if content:
        out["content"] = content
    if sealed:
        out["encrypted_content"] = sealed
    return out | extra


def seal(part: form.Reasoning, maker: str) -> str:
    """What lets the thoughts of `maker` come back to it whole, through a client that only hands them on."""
    return SEAL + base64.b64encode(orjson.dumps([maker, part.signature, part.sealed])).decode()


def unseal(sealed: str) -> tuple[str, str, str] | None:
    """Maker, signature and seal of another provider's thoughts; None when they are OpenAI's own."""
    if not sealed.startswith(SEAL):
        return None
    try:
        found = orjson.loads(base64.b64decode(sealed[len(SEAL) :], validate=True))
    except (binascii.Error, orjson.JSONDecodeError):
        return None
    if isinstance(found, list) and len(found) == 3 and all(isinstance(each, str) for each in found):
        return found[0], found[1], found[2]
    return None


def sealed_elsewhere(fields: Mapping[str, Any]) -> bool:
    """Whether a request has thoughts of another provider in it, which this module sealed and OpenAI would refuse."""
    items = fields.get("input")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, Mapping) and item.get("type") == "reasoning":
            sealed = item.get("encrypted_content")
            if isinstance(sealed, str) and unseal(sealed) is not None:
                return True
    return False


def continues(part: form.Reasoning, before: form.Reasoning, *, own: bool) -> bool:
    """Whether `part` stands in the same item as the one `before` it: a seal ends an item; without an id only our own words go on."""
    ours = own or part.maker == NAME
    open_ = not before.sealed and before.maker in {"", NAME}
    return part.id == before.id and (bool(part.id) or ours) and open_
