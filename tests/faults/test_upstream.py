"""The upstream of the fault suite does what its modes say, and keeps the truth about it."""

import json
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.faults import raw
from tests.faults.upstream.answers import TEXT
from tests.faults.upstream.launch import Control, running
from tests.faults.upstream.modes import AT_PORT, MODES
from tests.faults.upstream.modes.body import brotli
from tests.faults.upstream.modes.registry import ENDS
from tests.faults.upstream.modes.tools import GOLDEN
from tests.faults.upstream.naming import parse

ARGUMENTS = {
    "slow": ":2",
    "gzip_bomb": ":1",
    "huge": ":1",
    "flood": ":1",
    "slow_headers": "",
    "bigevent": ":1",
    "slowtok": ":0.002",
    "jitter": ":0.002",
    "ping_forever": ":0.6",
}
"""Smaller than by default where the default takes long."""
PATHS = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Control]:
    with running(3) as (control, _):
        yield control


def asked(control: Control, model: str, *, stream: bool = True, path: str = PATHS["chat"], **more: object) -> raw.Seen:
    """One request to replica 0 on a connection of its own."""
    wait = float(str(more.pop("wait", 0.4)))
    port = int(str(more.pop("port", control.ports["ports"][0])))
    body = raw.chat(model, stream=stream, **more)  # type: ignore[arg-type]
    return raw.talk(port, raw.request(path, body), wait=wait)


def kind(seen: raw.Seen, *, stream: bool) -> str:
    """How a raw client would call what it saw, in the words of the registry."""
    if not seen.data:
        return {raw.FIN: "fin", raw.RST: "rst", raw.QUIET: "silent"}[seen.end]
    if not seen.head:
        return "fin"
    if seen.status >= 300:
        return "status"
    body = seen.body
    if stream and (b'"error":{' in body or b"event: error" in body):
        return "error"
    markers = (b'"finish_reason":"', b"message_stop", b"response.completed", b'"stop_reason":"')
    return "answer" if seen.whole and any(mark in body for mark in markers) else "cut"


@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if mode.ends != "odd"])
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_mode_ends_as_it_is_named(upstream: Control, name: str, stream: bool) -> None:
    """Every row of the table is seen by a raw client the way the row says."""
    mode = MODES[name]
    wanted = mode.ends if stream or not mode.whole else mode.whole
    seen = asked(upstream, f"fx-{name}{ARGUMENTS.get(name, '')}", stream=stream, text=f"about {name} {stream}")
    if wanted == "answer" and mode.family in {"body"} and name in {"gzip_ok", "br"}:
        assert seen.whole
        assert "content-encoding" in seen.headers
    elif wanted == "odd":
        assert seen.data
    else:
        assert kind(seen, stream=stream) == wanted, seen.data[-200:]


@pytest.mark.parametrize("name", [name for name, mode in MODES.items() if mode.ends == "odd"])
def test_an_odd_mode_says_something(upstream: Control, name: str) -> None:
    """What a client must judge for itself is at least there."""
    assert asked(upstream, f"fx-{name}{ARGUMENTS.get(name, '')}", stream=False, wait=1.0).data


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_every_protocol_says_the_sixty_words(upstream: Control, path: str, stream: bool) -> None:
    """The canonical answer is whole in each of them."""
    body = asked(upstream, "fx-ok", stream=stream, path=path).body.decode()
    texts = [word for word in TEXT.split() if word in body]
    assert len(texts) == 60
    assert path != PATHS["messages"] or not stream or body.count("message_start") >= 1


def test_words_of_the_table_are_known() -> None:
    """Each row's end is one of those that are defined."""
    assert {mode.ends for mode in MODES.values()} <= ENDS
    assert {mode.whole for mode in MODES.values()} <= ENDS | {""}
    assert len(MODES) > 100


def test_a_cut_with_reset_is_a_reset_after_the_events(upstream: Control) -> None:
    """The raw client has the events before the break, then ECONNRESET."""
    seen = asked(upstream, "fx-cut_rst:5")
    assert seen.end == raw.RST
    assert seen.body.count(b"data: ") == 5


@pytest.mark.parametrize("index", [0, 1, 2, 31, 61, 62])
def test_a_break_comes_where_it_was_asked_for(upstream: Control, index: int) -> None:
    """Exactly so many events went out."""
    seen = asked(upstream, f"fx-cut_noterm:{index}")
    assert seen.body.count(b"data: ") == index
    assert not seen.whole


def test_the_log_is_the_truth(upstream: Control) -> None:
    """Times are in order, the bytes are those that arrived, the body's hash is that of what was sent."""
    seen = asked(upstream, "fx-ok", text="this is nonce-0123abcd", stream_options={"include_usage": True})
    (found,) = upstream.over("nonce-0123abcd")
    assert seen.began <= found["t_headers"] <= found["t_body"] <= found["t_first_byte"] <= found["t_last_byte"]
    assert found["bytes_sent"] == len(seen.data)
    assert (found["tokens"], found["end"], found["mode"], found["port"]) == (60, "done", "ok", 0)
    assert found["t_peer_closed"] is None
    assert ["host", "localhost"] in found["headers"]
    emitted = upstream.truth(nonce="nonce-0123abcd")["nonces"]["nonce-0123abcd"][0]["usage"]
    assert emitted["completion_tokens"] == 60
    assert f'"usage":{json.dumps(emitted, separators=(",", ":"))}' in seen.body.decode()


def test_a_peer_that_leaves_is_seen_at_once(upstream: Control) -> None:
    """`t_peer_closed` is when the client closed, in the middle of a stream and before it."""
    for model in ("fx-slowtok:0.05", "fx-silent", "fx-stall:20,i=3"):
        nonce = f"nonce-{abs(hash(model)) % 16**8:08x}"
        body = raw.request(PATHS["chat"], raw.chat(model, stream=True, text=nonce))
        with socket.create_connection(("127.0.0.1", upstream.ports["ports"][0]), timeout=5) as peer:
            peer.sendall(body)
            while not upstream.log(nonce=nonce):
                pass
            closed = time.monotonic()
        (found,) = upstream.over(nonce)
        assert found["end"] == "left", model
        assert 0 <= found["t_peer_closed"] - closed < 0.5, model


def test_a_port_set_limits_a_mode(upstream: Control) -> None:
    """`@1` fails at replica 1 only; the others answer well."""
    ports = upstream.ports["ports"]
    statuses = [asked(upstream, "fx-503@1", port=port, stream=False).status for port in ports]
    assert statuses == [200, 503, 200]


def test_a_script_says_what_each_attempt_plays(upstream: Control) -> None:
    """The first attempt of a nonce fails, the second is cut, the third and every later one is good."""
    upstream.script(nonce="nonce-5c5c5c5c", modes=["500", "cut_clean:3", "ok"])
    seen = [kind(asked(upstream, "fx-404", text="nonce-5c5c5c5c"), stream=True) for _ in range(4)]
    assert seen == ["status", "cut", "answer", "answer"]
    assert [one["mode"] for one in upstream.log(nonce="nonce-5c5c5c5c")] == ["500", "cut_clean:3", "ok", "ok"]


def test_a_script_breaks_and_heals_a_replica(upstream: Control) -> None:
    """A whole port plays a mode, refuses, resets or goes deaf, until it is told otherwise."""
    port = upstream.ports["ports"][2]
    try:
        upstream.script(ports={"2": "500"})
        assert asked(upstream, "fx-ok", port=port).status == 500
        upstream.script(ports={"2": "rst_on_accept"})
        assert asked(upstream, "fx-ok", port=port).end == raw.RST
        upstream.script(ports={"2": "accept_no_read"})
        assert asked(upstream, "fx-ok", port=port).end == raw.QUIET
        upstream.script(ports={"2": "refuse"})
        with pytest.raises(ConnectionRefusedError):
            asked(upstream, "fx-ok", port=port)
    finally:
        upstream.script(ports={"2": None})
    assert asked(upstream, "fx-ok", port=port).status == 200


def test_an_unreadable_script_is_refused(upstream: Control) -> None:
    """A typing mistake does not become a fault that never happens."""
    with pytest.raises(ValueError, match="no mode 'cut_rest'"):
        upstream.script(nonce="nonce-000000", modes=["cut_rest"])


def test_a_header_may_say_the_mode(upstream: Control) -> None:
    """`x-fx` comes before the model's name."""
    data = raw.request(PATHS["chat"], raw.chat("gpt-x"), "x-fx: 422")
    assert raw.talk(upstream.ports["ports"][0], data).status == 422


def drawn(seed: int) -> list[object]:
    """What a fresh upstream draws: which attempts fail, and where streams are cut into segments."""
    with running(1, seed=seed) as (control, _):
        fails = [asked(control, "fx-percent:50", stream=False, text=f"nonce-aa00{n:04x}").status for n in range(24)]
        sizes = []
        for nonce in ("nonce-bb0001", "nonce-bb0002"):
            asked(control, "fx-jitter:0.0001", text=nonce)
            sizes.append(control.log(nonce=nonce)[0]["bytes_sent"])
        return [fails, sizes]


def test_the_same_seed_draws_the_same(upstream: Control) -> None:
    """Two upstreams of one seed behave alike, one of another seed does not."""
    assert drawn(7) == drawn(7)
    assert drawn(7)[0] != drawn(8)[0]


def test_the_thief_notes_whoever_comes(upstream: Control) -> None:
    """A byte for the port that must never be contacted is not forgotten."""
    before = len(upstream.state()["thief"])
    raw.talk(upstream.ports["thief"], raw.request("/", b"{}"))
    assert len(upstream.state()["thief"]) == before + 1


def test_vllm_extras(upstream: Control) -> None:
    """Requests under way are counted while they are, usage so far comes on request, and the queue is what it is told to be."""
    port = upstream.ports["ports"][1]

    def gauge(name: str) -> float:
        text = raw.talk(port, raw.request("/metrics", b"", method="GET")).body.decode()
        return float(next(line for line in text.splitlines() if line.startswith(f"vllm:{name}{{")).rsplit(" ", 1)[1])

    assert gauge("num_requests_running") == 0
    with socket.create_connection(("127.0.0.1", port), timeout=5) as peer:
        peer.sendall(raw.request(PATHS["chat"], raw.chat("fx-silent", text="nonce-0a0b0c0d")))
        while not upstream.log(nonce="nonce-0a0b0c0d"):
            pass
        assert gauge("num_requests_running") == 1
    upstream.over("nonce-0a0b0c0d")
    assert gauge("num_requests_running") == 0
    asked(upstream, "fx-queue_depth:7", port=port)
    assert gauge("num_requests_waiting") == 7
    options = {"include_usage": True, "continuous_usage_stats": True}
    body = asked(upstream, "fx-ok", stream_options=options).body
    assert b'"completion_tokens":30' in body
    assert raw.talk(port, raw.request("/health", b"", method="GET")).status == 200


def test_small_endpoints(upstream: Control) -> None:
    """Models, embeddings and token counts are there; embeddings fail as they are told to."""
    port = upstream.ports["ports"][0]
    models = json.loads(raw.talk(port, raw.request("/v1/models", b"", method="GET")).body)
    assert models["object"] == "list"
    data = json.dumps({"model": "fx-ok", "input": ["a", "b"]}).encode()
    assert len(json.loads(raw.talk(port, raw.request("/v1/embeddings", data)).body)["data"]) == 2
    bad = json.dumps({"model": "fx-503", "input": "a"}).encode()
    assert raw.talk(port, raw.request("/v1/embeddings", bad)).status == 503
    assert "input_tokens" in json.loads(raw.talk(port, raw.request("/v1/messages/count_tokens", data)).body)


def test_a_full_accept_queue_is_a_black_hole(upstream: Control) -> None:
    """A connection to it neither succeeds nor is refused."""
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", upstream.ports["blackhole"]), timeout=0.3)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", upstream.ports["refuse"]), timeout=0.3)


def test_tls_ports(upstream: Control) -> None:
    """One certificate is good, one ended yesterday, one is a stranger's; a cut there has no goodbye; one port never shakes hands."""
    if "tls" not in upstream.ports:
        pytest.skip("there is no openssl command here, and so no certificates")
    trusting = ssl.create_default_context(cafile=upstream.ports["authority"])

    def connect(name: str) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", upstream.ports[name]), timeout=1.0)
        try:
            return trusting.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False)
        except OSError:
            plain.close()
            raise

    with connect("tls") as peer:
        peer.sendall(raw.request(PATHS["chat"], raw.chat("fx-cut_tls:4", stream=True)))
        data = b""

        def read_all() -> None:
            nonlocal data
            while more := peer.recv(65536):
                data += more

        with pytest.raises(ssl.SSLEOFError):
            read_all()
        assert data.count(b"data: ") == 4
    for name, words in {"tls_expired": "expired", "tls_bad_cert": "self-signed"}.items():
        with pytest.raises(ssl.SSLCertVerificationError, match=words):
            connect(name)
    with pytest.raises(TimeoutError):
        connect("tls_slow")


def test_a_name_is_read() -> None:
    """Mode, argument, named parts and ports; a prefix names a group of the gateway's."""
    found = parse("c28-fx-stall:2.5,i=7@0,2-3")
    assert found is not None
    assert (found.mode, found.values, found.get("i"), found.ports) == ("stall", ("2.5",), "7", frozenset({0, 2, 3}))
    assert parse("gpt-6") is None
    assert found.at(1).mode == "ok"


def test_brotli_is_a_stream_of_stored_blocks() -> None:
    """The first block's header says its length, the last byte ends the stream."""
    data = brotli(b"x" * 100)
    header = int.from_bytes(data[:3], "little")
    assert (header & 1, header >> 1 & 1, header >> 2 & 3, (header >> 4 & 0xFFFF) + 1, header >> 20 & 1) == (
        0,
        0,
        0,
        100,
        1,
    )
    assert data[3:] == b"x" * 100 + b"\x03"


def test_tools_are_golden() -> None:
    """Each of the modes for tools says which calls must come out, and their arguments are JSON or nothing."""
    assert set(GOLDEN) == {name for name in MODES if name.startswith("tools_")}
    for tools in GOLDEN.values():
        assert all(json.loads(tool.arguments or "{}") is not None for tool in tools)


def test_what_cannot_be_asked_for_says_why() -> None:
    """Modes before the request are at ports, by name."""
    assert {"refuse", "syn_blackhole", "tls_slow"} <= set(AT_PORT)
