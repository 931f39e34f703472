"""The static text embedding that is shipped: a mean of token vectors, 128 dimensions. Needs numpy and tokenizers."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

LONGEST = 4000
"""Characters of a text that are looked at: its beginning says what it is about."""


@cache
def _model() -> tuple[NDArray[np.float16], Tokenizer]:
    folder = files("fw_gateway.catalog") / "embedding"
    with as_file(folder / "vectors.npy") as path:
        vectors: NDArray[np.float16] = np.load(path)
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return vectors, tokenizer


def embed(texts: Sequence[str]) -> NDArray[np.float64]:
    """Unit vectors, shape (texts, 128); zeros for a text without a known token."""
    vectors, tokenizer = _model()
    found = np.zeros((len(texts), vectors.shape[1]))
    encoded = tokenizer.encode_batch([text[:LONGEST] for text in texts], add_special_tokens=False)
    for row, tokens in enumerate(encoded):
        if tokens.ids:
            found[row] = vectors[tokens.ids].astype(np.float64).mean(0)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.where(length > 0, length, 1.0)
