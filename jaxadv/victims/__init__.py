"""What is attacked: frozen networks as pure functions over a parameter pytree."""

from jaxadv.victims.conformance import check

__all__ = ["check"]
