"""Adversarial attacks on vision models with structured outputs, in JAX."""

__version__ = "0.1.0"
