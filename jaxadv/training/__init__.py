"""Fitting victims."""
