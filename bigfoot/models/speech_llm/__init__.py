"""A causal language model with speech among its input embeddings: encoder, adapter, language model."""
