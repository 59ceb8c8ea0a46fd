"""Facts about a model: what it weighs, how fast it is, how often it errs."""
