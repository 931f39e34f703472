"""Every mode by name."""

from tests.faults.upstream.modes import (
    anthropic,
    body,
    breaks,
    connect,
    endings,
    hostile,
    replica,
    shapes,
    status,
    tools,
)
from tests.faults.upstream.modes.registry import Mode

MODES: dict[str, Mode] = {
    **connect.ROWS,
    **status.ROWS,
    **body.ROWS,
    **shapes.ROWS,
    **endings.ROWS,
    **breaks.ROWS,
    **tools.ROWS,
    **anthropic.ROWS,
    **hostile.ROWS,
    **replica.ROWS,
}

NOT_HERE = {
    "h2": "HTTP/2 would need a framing layer and HPACK by hand; no gateway here speaks it to its upstreams in plain text",
}
"""Modes of the specification that loopback sockets do not give, and why."""
AT_PORT = {
    "refuse": "a port of its own on which nothing listens; or a replica whose listener a script closes",
    "syn_blackhole": "a port of its own whose accept queue is full, so that the system drops every SYN",
    "accept_no_read": "a script for a replica: it accepts and never reads",
    "rst_on_accept": "a script for a replica: it answers every connection with a RST",
    "tls_bad_cert": "a port of its own: a certificate that no authority signed",
    "tls_expired": "a port of its own: a certificate that ended yesterday",
    "tls_slow": "a port of its own: accepts, and never begins the handshake",
}
"""Modes that no request can ask for, because they happen before there is one."""
