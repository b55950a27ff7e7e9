"""Measures, which know nothing of attacks."""
