"""The attack without knobs: a budget of passes over the victim, and the smallest perturbation.

Ours; what it does is `captions.anchored` with the settings that `docs/captions.md` has measured.
"""

import dataclasses

from jaxadv import checks
from jaxadv.captions.anchored import anchored
from jaxadv.captions.bank import BankOptions, with_bank
from jaxadv.captions.captioner import Captioner
from jaxadv.captions.options import CAPTION
from jaxadv.core.attack import Attack
from jaxadv.core.method import Method, option, steps

BUDGET = 1000
STEPS_AN_ANCHOR, MOST_ANCHORS = 300, 3


def reliable(victim: Captioner, *, budget: int = BUDGET, exclude: bool = True) -> Attack:
    """Make a captioner predict a (partial) caption, with no rate, weight or schedule to choose.

    The attack's parameters are a `Known`, the victim's with a bank of pictures. Run it `budget`
    steps; of its result `best` counts, the smallest perturbation whose picture of 8 bits fools the
    victim.

    Args:
      victim: the captioner.
      budget: steps, each a pass over the victim: an encoding, a decoding and their gradient.
        Ranking the bank and planning, at the beginning, decode only.
      exclude: use no picture of the bank whose own caption is the target already.

    Raises:
      InputError: the victim is no captioner, or the budget is outside its range.
    """
    checks.in_range(iterations=budget)
    anchors = min(max(budget // STEPS_AN_ANCHOR, 1), MOST_ANCHORS)
    return anchored(victim, iterations=budget, anchors=anchors, exclude=exclude)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReliableOptions(BankOptions):
    """What the reliable attack can be told.

    Attributes:
      budget: passes over the victim.
    """

    budget: int = option(BUDGET, "passes over the victim", check=steps)


METHOD = Method(
    name="reliable",
    options=ReliableOptions,
    make=lambda victim, options: reliable(victim, budget=options.budget, exclude=options.exclude),
    iterations=lambda options: options.budget,
    reports="best",
    aims_at=lambda options: CAPTION,
    with_bank=with_bank,
)
