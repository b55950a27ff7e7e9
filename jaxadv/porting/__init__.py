"""Foreign checkpoints to Flax parameters, without executing them."""
