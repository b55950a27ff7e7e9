"""The Flax networks: one network a file."""
