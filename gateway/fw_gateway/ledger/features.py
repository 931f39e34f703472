"""What the ledger keeps of what a call said, where the config asks for it: an embedding in small numbers, never the text."""

from fw_gateway.catalog import text
from fw_gateway.values import Record


def features(record: Record) -> bytes | None:
    """Digest of the embedding and the numbers; None for a call that nothing can be learnt from: its plan was not drawn, nor chosen by text.

    A call that says nothing has zeros, which is not the same as None.
    """
    plan, said, record.said = record.plan, record.said, None
    if plan is None or not plan.policy or record.call.shadow is not None or said is None:
        return None
    if plan.propensity >= 1 and plan.by_text is None:
        return None
    model = text.embedding()
    return bytes.fromhex(model.digest) + (model.packed(said) if record.text is None else record.text)


def numbers(kept: bytes | None, digest: str) -> bytes | None:
    """The numbers of what was kept; None: nothing was, or another embedding made them."""
    if kept is None or kept[:4].hex() != digest:
        return None
    return kept[4:]
