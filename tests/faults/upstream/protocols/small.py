"""What never streams: embeddings, token counts, models, health, and the metrics of a vLLM server."""

from typing import Any

from tests.faults.upstream.http import dumped, whole

MODELS = ("fx-ok", "fx-echo", "fx-500", "fx-cut_rst")


def embeddings(fields: dict[str, Any]) -> dict[str, Any]:
    """A vector per input; the same text has the same vector."""
    given = fields.get("input")
    texts = given if isinstance(given, list) and given and not isinstance(given[0], int) else [given]
    rows = []
    for index, text in enumerate(texts):
        seed = sum(str(text).encode()) % 997
        vector = [((seed * (place + 1)) % 200 - 100) / 100 for place in range(8)]
        rows.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(len(str(text).split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": fields.get("model"), "data": rows, "usage": usage}


def count_tokens(body: bytes) -> dict[str, Any]:
    """Anthropic's count of a request's tokens: a quarter of its bytes."""
    return {"input_tokens": max(1, len(body) // 4)}


def models() -> dict[str, Any]:
    """A list of models."""
    return {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "fx"} for name in MODELS]}


def metrics(running: int, waiting: int, *, used: float, queries: int) -> bytes:
    """The gauges that routers read of vLLM."""
    rows = (
        ("vllm:num_requests_running", "gauge", running),
        ("vllm:num_requests_waiting", "gauge", waiting),
        ("vllm:kv_cache_usage_perc", "gauge", used),
        ("vllm:gpu_cache_usage_perc", "gauge", used),
        ("vllm:prefix_cache_queries_total", "counter", queries * 12),
        ("vllm:prefix_cache_hits_total", "counter", queries * 4),
    )
    lines = []
    for name, kind, value in rows:
        lines += [f"# TYPE {name} {kind}", f'{name}{{engine="0",model_name="fx"}} {float(value)}']
    text = ("\n".join(lines) + "\n").encode()
    return whole(200, text, "content-type: text/plain; version=0.0.4; charset=utf-8")


def answered(method: str, path: str, body: bytes, fields: dict[str, Any]) -> bytes | None:
    """The answer to a small request; None: it is none of these."""
    if method == "GET" and path == "/v1/models":
        return whole(200, dumped(models()))
    if method == "GET" and path in {"/health", "/ping", "/version"}:
        return whole(200, b'{"version":"0.20.0"}' if path == "/version" else b"")
    if path == "/v1/messages/count_tokens":
        return whole(200, dumped(count_tokens(body)))
    if path == "/v1/embeddings":
        return whole(200, dumped(embeddings(fields)))
    return None
