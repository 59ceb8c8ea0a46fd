"""Corpora, manifests, augmentation and batches."""
