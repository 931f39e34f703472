"""What all wire types have in common."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Wire(BaseModel):
    """Tolerant of fields it does not know, and keeps them. Built when first used, so that importing stays cheap."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", defer_build=True, frozen=True, protected_namespaces=()
    )
