"""Attacks that see a victim in one arithmetic, and whose success is that of another."""

from collections.abc import Callable

from jaxadv.attacks.attack import Attack
from jaxadv.victims.precision import Arithmetic, Victim, in_arithmetic


def attack_in(
    arithmetic: Arithmetic,
    judged: Arithmetic,
    make: Callable[[Victim], Attack],
    victim: Victim,
) -> Attack:
    """Build an attack on the victim in one arithmetic, judged in another.

    Args:
      arithmetic: of the victim while it is attacked.
      judged: of the victim that says whether the picture fools it.
      make: builds the attack on a victim.
      victim: whose.

    >>> from jaxadv.attacks.tkmia import tkmia
    >>> from jaxadv.victims import zoo
    >>> victim = zoo.load("scenes-tagger").classifier
    >>> attack = attack_in("bfloat16", "float32", tkmia, victim)
    """
    attack = make(in_arithmetic(victim, arithmetic))
    if judged == arithmetic:
        return attack
    return attack._replace(judge=make(in_arithmetic(victim, judged)).judge)
