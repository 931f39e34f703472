"""`POST /v1/embeddings`: the answer, in OpenAI's shape."""

from fwsdk.types.base import Wire
from fwsdk.types.chat import Usage


class Embedding(Wire):
    """One vector. Text when `encoding_format` asked for base64."""

    index: int = 0
    embedding: list[float] | str


class Embeddings(Wire):
    """Vectors, in the order of the input."""

    model: str = ""
    data: list[Embedding]
    usage: Usage | None = None

    @property
    def vectors(self) -> list[list[float]]:
        """The vectors alone."""
        return [one.embedding for one in self.data if isinstance(one.embedding, list)]
