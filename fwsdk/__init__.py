"""Say what a step needs; get the answer that meets it."""

__all__: list[str] = []
