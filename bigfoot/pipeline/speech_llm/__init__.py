"""Runs of speech LLMs: from an encoder and a language model to stages, compression and a report."""
