"""OpenAI Embeddings."""
