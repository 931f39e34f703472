"""The static text embedding that is shipped: a mean of token vectors, 128 dimensions, and the same as 128 bytes.

The tokens are those of BERT's WordPiece (Wu et al., 2016): a word is taken apart into the longest pieces that are known, from the left.
Numpy is loaded with the vectors, not with this module: most gateways never read a text.
"""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from fw_policies.by_text import SIZE

if TYPE_CHECKING:
    from numpy import float16, float64, int8
    from numpy.typing import NDArray

LONGEST = 4000
"""Characters of a text that are looked at: its beginning says what it is about."""
SERVED = 2000
"""And of one that a call waits for: whatever a caller sends, it is read in a few milliseconds."""
SPAN = 0.75
"""What 127 stands for in one byte; larger parts of a unit vector are cut off there."""
FORM = b"1"
"""Of how numbers are made of a text, beside the files: part of the digest."""
_LONGEST_WORD = 100
_REMEMBERED = 20_000
"""Words whose pieces are remembered, and characters whose kind is; a hostile caller may send any number of them."""
_CHINESE = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
            (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))  # fmt: skip
"""Blocks whose characters are words by themselves."""


class _Cleaned(dict[int, str]):
    """What becomes of a character before accents are taken off, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        found = self._found(code, chr(code))
        if len(self) < _REMEMBERED:
            self[code] = found
        return found

    def _found(self, code: int, char: str) -> str:
        kind = unicodedata.category(char)
        if char in "\t\n\r" or kind[0] == "Z":
            return " "
        if char == "\ufffd" or kind in {"Cc", "Cf", "Co"}:
            return ""
        return f" {char} " if any(low <= code <= high for low, high in _CHINESE) else char


class _Parted(_Cleaned):
    """And after that: accents go, capitals become small, marks stand alone."""

    def _found(self, code: int, char: str) -> str:
        kind = unicodedata.category(char)
        if kind == "Mn":
            return ""
        alone = kind[0] == "P" or (0x21 <= code <= 0x7E and not char.isalnum())
        return f" {char} " if alone else char.lower()


class WordPiece:
    """From a text to numbers of tokens."""

    def __init__(self, vocabulary: dict[str, int], unknown: int) -> None:
        """`vocabulary`: piece -> number; a piece that goes on begins with `##`."""
        self._vocabulary = vocabulary
        self._longest = max(map(len, vocabulary))
        self._unknown = (unknown,)
        self._cleaned, self._parted = _Cleaned(), _Parted()
        self._words: dict[str, tuple[int, ...]] = {}

    def __call__(self, text: str) -> list[int]:
        """The tokens of a text, in order."""
        text = text.translate(self._cleaned)
        if not text.isascii():
            text = unicodedata.normalize("NFD", text)
        found: list[int] = []
        for word in text.translate(self._parted).split():
            pieces = self._words.get(word)
            if pieces is None:
                pieces = self._pieces(word)
                if len(self._words) < _REMEMBERED:
                    self._words[word] = pieces
            found.extend(pieces)
        return found

    def _pieces(self, word: str) -> tuple[int, ...]:
        if len(word) > _LONGEST_WORD:
            return self._unknown
        vocabulary, found, start = self._vocabulary, [], 0
        while start < len(word):
            for end in range(min(len(word), start + self._longest), start, -1):
                number = vocabulary.get(word[start:end] if start == 0 else "##" + word[start:end])
                if number is not None:
                    found.append(number)
                    start = end
                    break
            else:
                return self._unknown
        return tuple(found)


class Embedding:
    """The tokens' vectors and how a text becomes tokens: 8 MB on the disk, 20 in memory, a fifth of a second to load."""

    def __init__(self) -> None:
        """Load it."""
        import numpy as np  # noqa: PLC0415 - only where a text is read

        self._np = np
        folder = _folder()
        with as_file(folder / "vectors.npy") as path:
            self._vectors: NDArray[float16] = np.load(path)
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        self.tokens = WordPiece(model["vocab"], model["vocab"][model["unk_token"]])
        self.digest = digest()

    def unit(self, text: str) -> "NDArray[float64]":
        """The unit vector of a text; zeros for one without a token."""
        np, ids = self._np, self.tokens(text[:LONGEST])
        found: NDArray[float64] = self._vectors[ids].astype(np.float64).mean(0) if ids else np.zeros(SIZE)
        return found / (float(np.sqrt(found @ found)) or 1.0)

    def packed(self, text: str) -> bytes:
        """The same in whole numbers, one byte each: what rules by text are proven on and served by."""
        np = self._np
        numbers: NDArray[int8] = np.clip(np.rint(self.unit(text[:SERVED]) * (127 / SPAN)), -127, 127).astype(np.int8)
        return numbers.tobytes()


def _folder() -> Traversable:
    return files("fw_gateway.catalog") / "embedding"


@cache
def digest() -> str:
    """Short hash of everything that the numbers of a text depend on; eight hexadecimal digits."""
    found = hashlib.blake2b(FORM, digest_size=4)
    for name in ("tokenizer.json", "vectors.npy"):
        found.update((_folder() / name).read_bytes())
    return found.hexdigest()


@cache
def embedding() -> Embedding:
    """The one of this process."""
    return Embedding()


def said(fields: Mapping[str, Any]) -> str:
    """The last text of the user in a request of any protocol: what tools gave back since is no word of his. Empty: there is none."""
    asked = next((fields[name] for name in ("messages", "input", "prompt") if fields.get(name)), None)
    if isinstance(asked, str):
        return asked
    for message in reversed(asked if isinstance(asked, list) else []):
        if not isinstance(message, Mapping) or message.get("role") != "user":
            continue
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
        found = "\n".join(text for text in texts if isinstance(text, str))
        if found:
            return found
    return ""


def embed(texts: Sequence[str]) -> "NDArray[float64]":
    """Unit vectors, shape (texts, 128); zeros for a text without a token."""
    model = embedding()
    import numpy as np  # noqa: PLC0415 - loaded with the embedding

    return np.array([model.unit(text) for text in texts]).reshape(len(texts), SIZE)
