"""Whatever else an upstream serves: bytes."""
