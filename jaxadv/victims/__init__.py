"""What is attacked: frozen networks as pure functions over a parameter pytree."""
