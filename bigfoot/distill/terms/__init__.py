"""The built-in losses, one file each; ``bigfoot.distill.registry`` lists them."""
