"""Fusion of text with streams of speech features of different rates."""
