"""Embeddings of recordings, stored for other programs."""
