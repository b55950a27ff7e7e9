"""Self-critical sequence training (Rennie et al. 2017): a captioner rewarded by CIDEr-D.

The gradient is `-(r(S) - r(Ŝ)) ∇ ln P(S)`, where S is sampled and Ŝ decoded greedily by the
current model (their eq. 9): the model is its own baseline. As in the paper, the backbone is frozen.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxadv.captions.captioner import (
    Caption,
    Captioner,
    Features,
    Params,
    caption_log_probability,
    greedy,
)
from jaxadv.core.cider import cider_d, document_frequencies, prepare
from jaxadv.training.fit import Phase, Report, State, begin, fit, gradient_step
from jaxadv.training.parts import generator
from jaxadv.victims.nets.caption_net import CaptionNet
from jaxadv.vocabulary import END


class Rewards(NamedTuple):
    """Mean CIDEr-D of sampled and of greedy captions."""

    sampled: float
    greedy: float

    def __str__(self) -> str:
        return f"CIDEr-D: sampled {self.sampled:.3f}, greedy {self.greedy:.3f}"


def sample(victim: Captioner, params: Params, features: Features, key: Array) -> Caption:
    """Sample a caption word by word from the model's distribution."""

    def begin(params: Params, features: Features) -> tuple[Any, Array]:
        return victim.begin(params, features), key

    def advance(params: Params, features: Features, state: Any, token: Array) -> tuple[Any, Array]:
        state, key = state
        return victim.advance(params, features, state, token), jax.random.fold_in(key, 0)

    def logits(params: Params, state: Any) -> Array:
        # Gumbel-max: the arg max of perturbed scores is a sample
        state, key = state
        scores = victim.logits(params, state)
        return scores + jax.random.gumbel(key, scores.shape, scores.dtype)

    sampler = victim._replace(begin=begin, advance=advance, logits=logits)
    return greedy(sampler, params, features)


def words(tokens: np.ndarray) -> tuple[int, ...]:
    """Return the tokens of a padded caption up to and including its end token.

    CIDEr-D counts the end token as a word, as in ruotianluo's implementation: otherwise a caption
    that never ends would not be penalised.
    """
    said = tokens.tolist()
    return tuple(said[: said.index(END) + 1] if END in said else said)


def decoder_of(net: CaptionNet, victim: Captioner, whole: Callable[[Any], Any]) -> Captioner:
    """Return a victim of the decoder's parameters alone, whose features are the backbone's grid.

    `begin` applies `prepare`, whose parameters are trained, too, and the state carries its output.
    `whole` turns the decoder's parameters into variables of the network.
    """

    def begin(decoder: Any, grid: Array) -> tuple[Any, Any]:
        params = whole(decoder)
        features = net.apply(params, grid, method="prepare")
        return features, victim.begin(params, features)

    def advance(decoder: Any, grid: Array, carried: Any, token: Array) -> tuple[Any, Any]:
        features, state = carried
        return features, victim.advance(whole(decoder), features, state, token)

    def logits(decoder: Any, carried: Any) -> Array:
        return victim.logits(whole(decoder), carried[1])

    return victim._replace(begin=begin, advance=advance, logits=logits)


def fit_decoder(
    net: CaptionNet,
    victim: Captioner,
    variables: Any,
    grids: np.ndarray,
    references: Sequence[Sequence[tuple[int, ...]]],
    **options: Any,
) -> Iterator[tuple[Report, Any]]:
    """Fine-tune a captioner's decoder over its frozen backbone, by `fit_self_critical`.

    Args:
      net: the network.
      victim: the network as a captioner.
      variables: its variables.
      grids: what the backbone makes of n pictures, [n, h, w, C].
      references: the true captions of each picture, in the form that `words` returns.
      **options: further arguments of `fit_self_critical`.

    Returns:
      An iterator over reports, with the variables of the whole network at that point.
    """

    def whole(decoder: Any) -> Any:
        return {**variables, "params": {**variables["params"], "decoder": decoder}}

    decoder, features = variables["params"]["decoder"], jnp.asarray(grids, jnp.float32)
    job = fit_self_critical(
        decoder_of(net, victim, whole), decoder, features, references, **options
    )
    return ((report, whole(decoder)) for report, decoder in job)


def fit_self_critical(
    victim: Captioner,
    params: Params,
    features: Features,
    references: Sequence[Sequence[tuple[int, ...]]],
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    key: Array,
    report_every: int = 20,
) -> Iterator[tuple[Report, Params]]:
    """Fine-tune a captioner's decoder to raise the CIDEr-D of its captions.

    Args:
      victim: the captioner.
      params: the decoder's parameters, as `victim.begin`, `advance` and `logits` take them.
      features: the output of `victim.encode` for n pictures, with leading axis n.
      references: the true captions of each picture, in the form that `words` returns.
      steps: number of optimiser steps.
      batch: number of pictures in a step.
      learning_rate: learning rate of Adam.
      key: random key for the samples and the order.
      report_every: number of steps between reports.

    Returns:
      An iterator over reports, whose losses are `Rewards`, and the parameters at that point.
    """
    statistics = document_frequencies(references)
    prepared = [prepare(own, statistics) for own in references]
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    @jax.jit
    def speak(params: Params, features: Features, keys: Array) -> tuple[Array, Array]:
        sampled = jax.vmap(lambda f, k: sample(victim, params, f, k).tokens)(features, keys)
        return sampled, jax.vmap(lambda f: greedy(victim, params, f).tokens)(features)

    def loss(params: Params, state: State, batch: Any, key: Array) -> tuple[Array, State]:
        features, tokens, advantage = batch
        log_p = jax.vmap(lambda f, s: caption_log_probability(victim, params, f, s))
        return -(advantage * log_p(features, tokens)).mean(), {}

    update = gradient_step("decoder", optimiser, loss)

    def reward(captions: Array, rows: np.ndarray) -> np.ndarray:
        pairs = zip(np.asarray(captions), rows, strict=True)
        return np.array([cider_d(words(said), prepared[row], statistics) for said, row in pairs])

    def step(state: State, rows: np.ndarray, key: Array) -> tuple[State, Rewards]:
        seen = jax.tree.map(lambda x: x[rows], features)
        sampled, baseline = speak(state["decoder"].params, seen, jax.random.split(key, batch))
        of_sample, of_greedy = reward(sampled, rows), reward(baseline, rows)
        advantage = jnp.asarray(of_sample - of_greedy, jnp.float32)
        state, _ = update(state, (seen, sampled, advantage), key)
        return state, Rewards(float(of_sample.mean()), float(of_greedy.mean()))

    def draws() -> Iterator[np.ndarray]:
        rng = generator(key)
        while True:
            yield rng.choice(len(references), size=batch, replace=False)

    return fit(
        {"decoder": begin(optimiser, params)},
        [Phase(step, draws())],
        lambda state: state["decoder"].params,
        steps=steps,
        key=key,
        report_every=report_every,
    )
