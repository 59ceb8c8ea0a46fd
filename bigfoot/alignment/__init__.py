"""Align a text with its recording: times of words, characters and phonemes; no torch, unless a model needs it."""
