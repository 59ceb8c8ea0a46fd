"""Compression steps: each one small config and ``apply(model, config) -> (model, Change)``; the input is left as it is."""
