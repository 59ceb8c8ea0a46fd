"""Tasks on the encoder: their settings, training and evaluation; the networks are in ``bigfoot.models.tasks``."""
