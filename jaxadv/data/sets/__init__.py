"""Readers of data sets in the layouts in which their owners distribute them, one a file."""
