"""How fast it is, as ratios: `jaxadv bench` in Python."""
