"""Version of the package; a file of its own, so that rooms need not import the package that names them."""

__version__ = "0.1.0"
