"""The promises: number, words, figure."""

PROMISES: dict[int, tuple[str, str]] = {
    1: (
        "Small, flat overhead with auth+limits+ledger on",
        "added p50 <= 2 ms, p99 <= 10 ms at 60 % of max rps, 1 core",
    ),
    2: (
        "Overload sheds, does not melt",
        "at 3x capacity goodput >= 90 % of peak; rejects p99 <= 50 ms with Retry-After; /livez p95 <= 100 ms",
    ),
    3: (
        "Noisy neighbour isolation",
        "tenant A at 10x: tenant B p99 <= 1.5x, 0 rejects",
    ),
    4: (
        "Tokens flow when they come",
        "added inter-event p99 <= 5 ms at 500 streams; never more than 1 event held",
    ),
    5: (
        "Cheap open streams",
        "<= 100 KiB RSS per idle stream at 2,000",
    ),
    6: (
        "No leaks",
        "30-min mixed fault soak: RSS slope <= 1 %/10 min, fds, tasks, pool slots return to baseline",
    ),
    7: (
        "Big bodies are boring",
        "100 MB base64: accepted up to limit, else 413 before reading; peak RSS <= 2.5x body; other requests "
        "+50 ms p99",
    ),
    8: (
        "Compression bombs bounded",
        "request gzip: 415 by default; RSS +<= 32 MiB; response bombs bounded by event limit",
    ),
    9: (
        "Slow clients cost nothing",
        "1,000 slow-header, slow-body, slow-reader, silent sockets: other p99 +<= 10 %; closed <= 10 s "
        "(headers), 30 s without body progress, 60 s write stall",
    ),
    10: (
        "Failure path is budgeted",
        "faulted CPU/request <= 1.5x, RSS <= 1.2x, log <= 1 KB/request, <= 1 line/s per breaker",
    ),
    11: (
        "Failover Bench",
        "16 pass / 0 partial",
    ),
    12: (
        "Silent upstream",
        "fail over at TTFT limit +-1 s (default 10 s closed, policy for vLLM), route not retried",
    ),
    13: (
        "Dead replica",
        "1 of 3 returns 500/RST: client errors 0, wasted attempts <= 10 before ejection, back <= 35 s after healing",
    ),
    14: (
        "Gray replica",
        "1 of 3 is 10x slower: p99 <= 2x healthy after 10 s",
    ),
    15: (
        "Never ejects everything",
        "all replicas failing: panic mode, requests still tried, no thundering probe (<= 1 probe/s/endpoint)",
    ),
    16: (
        "Retry budget",
        "100 % failure at 50 rps: attempts/request <= 1.2 (+3/s floor)",
    ),
    17: (
        "Retry-After",
        "seconds, HTTP-date, -ms; >= told, <= told+25 %; over cap: fail over and relay header",
    ),
    18: (
        "Not retryable",
        "400, 401, 403, 404, 413, 422, content filter: 1 attempt; 402/quota: key ejected",
    ),
    19: (
        "No duplicate delivery",
        "after the first content byte: 0 re-sends, unless policy resume and then text is prefix-exact, "
        "marked x-...-resumed",
    ),
    20: (
        "Idempotency-Key",
        "same key 24 h: 1 upstream attempt, 1 ledger row, identical bytes; other body: 422; concurrent twin: "
        "waits or 409",
    ),
    21: (
        "No amplification through SDKs",
        "openai SDK (2 retries) behind us: upstream attempts <= ours; we send x-should-retry: false after "
        "our budget is spent",
    ),
    22: (
        "Deadlines",
        "client x-request-timeout/socket close: upstream stops <= 250 ms after; remaining time passed on",
    ),
    23: (
        "Bulkheads",
        "500 streams stuck on upstream A: B's p99 +<= 10 ms",
    ),
    24: (
        "DNS",
        "record change honoured <= 30 s, NXDOMAIN keeps last good 5 min; both A/AAAA",
    ),
    25: (
        "Redirects never followed",
        "hops = 1; listener 2 sees 0 bytes",
    ),
    26: (
        "Our own errors are not upstream failures",
        "429/503 of ours never trip a breaker",
    ),
    27: (
        "Byte-exact content",
        "500 Hypothesis streams x random TCP cuts, CR/LF/CRLF, comments, BOM, multi-line data, 4-byte chars: "
        "equality 100 %, 0 U+FFFD",
    ),
    28: (
        "Truncation is never success",
        "0 in all of: no terminator, RST, close-delimited, *clean* terminator without finish, TLS without "
        "close_notify, Content-Length short",
    ),
    29: (
        "Error after 200 is protocol-correct and lossless",
        "OpenAI: data:{error:{message,type,code}}, no [DONE]; Anthropic: event: error; Responses: "
        "response.failed; type/code/retry hints kept; both SDKs raise",
    ),
    30: (
        "Pre-content failures fail over invisibly",
        "error after role/ping/response.created but before content: fallback answers, one clean stream",
    ),
    31: (
        "Usage exactly once",
        "ledger = upstream usage for every placement (with/after finish, own chunk, last wins, missing -> "
        "flagged estimate); unasked usage chunk hidden",
    ),
    32: (
        "Disconnect stops spend",
        "upstream FIN seen p99 <= 200 ms: mid-stream, before first token, non-stream, while queued, while retrying",
    ),
    33: (
        "Stall detection",
        "inter-event limit +-1 s, slot released, pings do not count as progress for ever",
    ),
    34: (
        "Back-pressure",
        "slow reader: <= 1 MiB buffered per stream, upstream paused",
    ),
    35: (
        "Tool calls",
        "interleaved, duplicate index, late id, empty args, 1-byte JSON: identical objects through both "
        "protocols and translations",
    ),
    36: (
        "Grammar",
        "Anthropic/Responses event automaton accepts 100 %; exactly one start/stop",
    ),
    37: (
        "Odd but legal",
        "no [DONE], [DONE] twice, data after DONE, 1 MiB event, unknown events, data: without space",
    ),
    69: (
        "Fuzz",
        "Schemathesis + Hypothesis + raw HTTP corpus, 10^5 cases: 0 of our 5xx, 0 hang, 0 traceback",
    ),
    70: (
        "JSON limits",
        "depth > 64, > 10^4 messages, NaN/Infinity, duplicate keys, lone surrogates, 5,000-digit ints: 400, "
        "<= 20 ms CPU",
    ),
    71: (
        "HTTP smuggling",
        "Content-Length with Transfer-Encoding, dual CL/Host, bare LF, obs-fold, variants of both: 400+close",
    ),
    72: (
        "Official clients unmodified",
        "openai, anthropic SDKs, LangChain, Vercel AI: recorded matrix 100 % on both protocols",
    ),
    73: (
        "Trace/ids",
        "W3C traceparent kept, request id echoed, attempts/route/cost in headers and in the ledger",
    ),
}
"""Row -> (promise, figure). Rows of stores, tenants, lifecycle and supply chain are other suites' business."""
