"""`GET /v1/models`: what the gateway serves."""

from fwsdk.types.base import Wire


class Model(Wire):
    """A name that may stand in `model`."""

    id: str
    object: str = "model"
    created: int = 0
    owned_by: str = ""


class ModelList(Wire):
    """All of them."""

    object: str = "list"
    data: list[Model]
