"""Answers that are refusals, and answers that only look like one."""

import time
from email.utils import formatdate

from tests.faults.upstream.http import dumped, head, whole
from tests.faults.upstream.modes.registry import Mode, rows
from tests.faults.upstream.play import Play, Shape

CODES = (400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529)
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_OK = Shape()


def retry_after(play: Play) -> list[str]:
    """`Retry-After` as the argument asks: `2` or `s=2`, `date=2`, `ms=500`, `neg`, `huge`, `both=ms,s`."""
    wanted = play.wanted
    lines = []
    if seconds := wanted.get("s") or next((value for value in wanted.values if value.replace(".", "").isdigit()), ""):
        lines.append(f"retry-after: {seconds}")
    if date := wanted.get("date"):
        lines.append(f"retry-after: {formatdate(time.time() + float(date), usegmt=True)}")
    if milliseconds := wanted.get("ms"):
        lines.append(f"retry-after-ms: {milliseconds}")
    lines += ["retry-after: -5"] if "neg" in wanted.values else []
    lines += ["retry-after: 99999999"] if "huge" in wanted.values else []
    lines += ["retry-after: soon"] if "junk" in wanted.values else []
    return lines


async def _status(play: Play) -> bool:
    code = int(play.wanted.mode)
    body = play.error(f"scripted {code}", KINDS.get(code, "server_error"), "rate_limited" if code == 429 else None)
    await play.send(whole(code, body, *retry_after(play)))
    return True


def _refusal(code: int, message: str, kind: str, name: str) -> Mode:
    async def run(play: Play) -> bool:
        await play.send(whole(code, play.error(message, kind, name)))
        return True

    return Mode(name, "status", "status", run, f"{code} with the code `{name}`")


async def _html_502(play: Play) -> bool:
    page = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
    await play.send(whole(502, page, "content-type: text/html"))
    return True


async def _raw(play: Play, status: int, body: bytes) -> bool:
    await play.send(whole(status, body))
    return True


async def _204(play: Play) -> bool:
    await play.send(head(204))
    return True


async def _redirect(play: Play) -> bool:
    place = f"{play.thief}{play.request.path}"
    await play.send(whole(int(play.wanted.mode), b"{}", f"location: {place}"))
    return True


async def _error_in_200(play: Play) -> bool:
    return await _raw(play, 200, play.error("scripted failure in a 200", "server_error", "engine_dead"))


async def _flaky(play: Play) -> bool:
    """The first n attempts of a nonce fail."""
    if play.tries <= play.wanted.number(1):
        return await _raw(play, int(play.wanted.get("status", "500")), play.error("flaky"))
    return await _OK(play)


async def _flap(play: Play) -> bool:
    """Bad in every other period."""
    if int(time.monotonic() / play.wanted.number(1.0)) % 2:
        return await _raw(play, 500, play.error("flap"))
    return await _OK(play)


async def _percent(play: Play) -> bool:
    """So many percent of attempts fail, drawn from the seed, the nonce and the attempt's number."""
    if play.rng.random() * 100 < play.wanted.number(50.0):
        return await _raw(play, int(play.wanted.get("status", "500")), play.error("percent"))
    return await _OK(play)


_LIST = dumped([{"id": "x"}])
ROWS = rows(
    "status",
    {str(code): ("status", _status, f"status {code}; the argument may give Retry-After") for code in CODES}
    | {str(code): ("status", _redirect, f"{code} to the thief's port") for code in (301, 302, 307, 308)}
    | {
        "html_502": ("status", _html_502, "502 with a page of HTML"),
        "empty_200": ("odd", lambda play: _raw(play, 200, b""), "200 with no body"),
        "204": ("odd", _204, "204"),
        "json_list": ("odd", lambda play: _raw(play, 200, _LIST), "200 with a JSON list"),
        "error_in_200_json": ("odd", _error_in_200, "200 whose JSON is an error"),
        "flaky": ("status", _flaky, "the first n attempts of a nonce fail (default 1), then it answers; `status=503`"),
        "flap": ("odd", _flap, "fails during every other period of so many seconds"),
        "percent": ("odd", _percent, "fails so many percent of attempts, by seed"),
    },
)
ROWS |= {
    mode.name: mode
    for mode in (
        _refusal(
            400, "This model's maximum context length is 8 tokens.", "invalid_request_error", "context_length_exceeded"
        ),
        _refusal(400, "The response was filtered.", "invalid_request_error", "content_filter"),
        _refusal(429, "You exceeded your current quota.", "insufficient_quota", "insufficient_quota"),
    )
}
ROWS["context_length"] = ROWS.pop("context_length_exceeded")
ROWS["quota"] = ROWS.pop("insufficient_quota")
