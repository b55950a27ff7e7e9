"""The caption attacks by name; one that is added here is in every command, sweep and table."""

from jaxadv.captions.anchored import METHOD as ANCHORED
from jaxadv.captions.gem import METHOD as GEM
from jaxadv.captions.reliable import METHOD as RELIABLE
from jaxadv.captions.show_and_fool import METHOD as SHOW_AND_FOOL
from jaxadv.captions.ssvm import METHOD as SSVM
from jaxadv.captions.untargeted import METHOD as UNTARGETED
from jaxadv.core.method import Method

METHODS: tuple[Method, ...] = (GEM, SSVM, SHOW_AND_FOOL, UNTARGETED, ANCHORED, RELIABLE)
