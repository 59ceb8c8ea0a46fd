"""Transcripts: text normalization, and tokenizers."""
