"""The steps of a run, one file each; ``bigfoot.pipeline.registry`` lists them."""
