"""Banks: what a captioner makes of pictures other than the one that is attacked."""

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jaxadv import checks
from jaxadv.captions.captioner import Captioner, Features, Params, greedy
from jaxadv.captions.criteria import says_target
from jaxadv.captions.marginal import marginal
from jaxadv.captions.target import PartialCaption
from jaxadv.core.method import AttackOptions, option


class Bank(NamedTuple):
    """What a victim makes of some pictures; a leading axis of pictures throughout.

    Attributes:
      features: of each picture, as `Captioner.encode` gives them.
      captions: i32[N, T], what it says of each greedily.
    """

    features: Features
    captions: Int[Array, "N T"]


class Known(NamedTuple):
    """What is known of the victim, and takes the place of its parameters: all examples share it.

    Attributes:
      params: its parameters.
      bank: what it makes of the pictures that anchors are taken from.
    """

    params: Params
    bank: Bank


def bank_of(victim: Captioner, params: Params, pictures: Array, batch: int = 64) -> Bank:
    """Encode and caption the pictures of a bank.

    Args:
      victim: the captioner.
      params: its parameters.
      pictures: f32[N, H, W, 3] in [0, 1], any; leave out those that are attacked.
      batch: pictures at once.

    Raises:
      InputError: the victim is no captioner, or there is no picture.
    """
    checks.victim(victim, Captioner, "captioner")
    checks.whole("batch", batch, 1)
    checks.whole("number of pictures", len(pictures), 1)
    return _encoded(victim, params, jnp.asarray(pictures), min(batch, len(pictures)))


@partial(jax.jit, static_argnames=("victim", "batch"))
def _encoded(victim: Captioner, params: Params, pictures: Array, batch: int) -> Bank:
    def one(picture: Array) -> Bank:
        features = victim.encode(params, picture)
        return Bank(features, greedy(victim, params, features).tokens)

    bank: Bank = jax.lax.map(one, pictures, batch_size=batch)
    return bank


def scores(
    victim: Captioner,
    known: Known,
    target: PartialCaption,
    *,
    exclude: bool = True,
    top: int = 3,
    lanes: int = 9,
    batch: int = 64,
) -> Float[Array, " N"]:
    """Score every picture of the bank by `ln P(S_O)` of the target, latent words summed over.

    Args:
      victim: the captioner.
      known: its parameters and the bank.
      target: the caption that is aimed at.
      exclude: minus infinity where the picture's own caption has the target already, so that an
        evaluation rests on no picture that is an answer.
      top: states kept a latent word.
      lanes: configurations kept at once.
      batch: pictures at once.

    Returns:
      f32[N].
    """

    def one(features: Features) -> Array:
        found = marginal(
            victim, known.params, features, target, posterior="joint", top=top, lanes=lanes
        )
        return found.log_likelihood

    features, captions = known.bank
    likelihood = jax.lax.map(one, features, batch_size=min(batch, len(captions)))
    if not exclude:
        return likelihood
    answers = jax.vmap(partial(says_target, target))(captions)
    return jnp.where(answers, -jnp.inf, likelihood)


def with_bank(victim: Captioner, params: Params, pictures: Array) -> Known:
    """Return what the attack takes in place of the victim's parameters; as `bank_of`."""
    return Known(params, bank_of(victim, params, pictures))


@dataclasses.dataclass(frozen=True, kw_only=True)
class BankOptions(AttackOptions):
    """What attacks by way of anchors can be told.

    Attributes:
      bank: where the pictures of the bank are from.
      exclude: take no anchor whose own caption is the target.
    """

    bank: str = option(
        "",
        "folder of pictures to take anchors from; by default the photographs of --data that were "
        "not held out, else generated scenes or, for victims of photographs, the shipped ones",
    )
    exclude: bool = option(
        True, "take no anchor whose own caption is the target already", off="--with-answers"
    )
