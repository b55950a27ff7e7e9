"""The command line; everything it does is one call away in Python."""
