"""What the ledger keeps of what a call said, where the config asks for it: an embedding in small numbers, never the text."""

from fw_gateway.catalog import text
from fw_gateway.values import Record


def features(record: Record) -> bytes | None:
    """Digest of the embedding and the numbers; None for a call that nothing can be learnt from: its plan was not drawn, nor chosen by text.

    A call that says nothing has zeros, which is not the same as None.
    """
    plan, call = record.plan, record.call
    if plan is None or not plan.policy or call.shadow is not None or not (plan.propensity < 1 or plan.by_text):
        return None
    model = text.embedding()
    numbers = record.text if record.text is not None else model.packed(text.said(call.fields))
    return bytes.fromhex(model.digest) + numbers


def numbers(kept: bytes | None, digest: str) -> bytes | None:
    """The numbers of what was kept; None: nothing was, or another embedding made them."""
    if kept is None or kept[:4].hex() != digest:
        return None
    return kept[4:]
