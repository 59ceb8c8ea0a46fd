"""Decoding: turn logits into text."""
