"""The gateway: OpenAI-compatible in front, every model behind, a plan for each call in between."""
