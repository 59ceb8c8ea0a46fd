"""Published corpora in their own layouts: one file each, and one line in ``bigfoot.data.registry``."""
