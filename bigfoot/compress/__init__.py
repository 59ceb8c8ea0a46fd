"""Compression steps: each a small config and ``apply(model, config) -> (model, Change)``; the input stays as it is."""
