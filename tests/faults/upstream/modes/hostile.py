"""Upstreams that mean harm, and upstreams that give back what they were sent."""

from tests.faults.upstream.answers import Answer, spaced
from tests.faults.upstream.http import dumped, whole
from tests.faults.upstream.modes.registry import rows
from tests.faults.upstream.play import Play, Shape

COOKIE = "fx_session=stolen; Path=/; HttpOnly"
LEAKED = (
    "x-internal-host: node-17.prod.internal",
    "x-api-key: sk-upstream-secret-canary",
    "authorization: Bearer sk-upstream-secret-canary",
    "openai-organization: org-canary",
    "server: fx/1.0 (canary)",
    "x-powered-by: canary",
    "via: 1.1 canary",
    "set-cookie: leak=canary",
)
CANARY = "canary"
"""What no header of a client's answer may contain."""


def _echo(answer: Answer, play: Play) -> Answer:
    return answer.with_(tokens=spaced([play.attempt.nonce or "no-nonce"] * 60))


def _echo_headers(answer: Answer, play: Play) -> Answer:
    return answer.with_(tokens=(dumped(play.request.headers).decode(),))


async def _prompt_echo(play: Play) -> bool:
    text = play.request.body.decode("utf-8", "replace")
    await play.send(whole(400, play.error(f"cannot serve: {text}", "invalid_request_error")))
    return True


ROWS = rows(
    "hostile",
    {
        "set_cookie": ("answer", Shape(headers=(f"set-cookie: {COOKIE}",)), "sets a cookie"),
        "leak_headers": ("answer", Shape(headers=LEAKED), "headers that are nobody's business"),
        "crlf_header": ("odd", Shape(headers=("x-evil: a\rset-cookie: leak=canary\r",)), "a bare CR within a header"),
        "prompt_echo_error": ("status", _prompt_echo, "a 400 that repeats the request"),
        "echo": ("answer", Shape(answer=_echo), "the caller's nonce in every token"),
        "echo_headers": ("answer", Shape(answer=_echo_headers), "the request's headers as its text"),
        "model_name_lie": ("answer", Shape(answer=lambda a, p: a.with_(model="gpt-99-lie")), "another model's name"),
    },
)
