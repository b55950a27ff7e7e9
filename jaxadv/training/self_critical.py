"""Self-critical sequence training (Rennie et al. 2017): a captioner rewarded by CIDEr-D.

The gradient is `-(r(S) - r(Ŝ)) ∇ ln P(S)` with S sampled and Ŝ decoded greedily by the present
model (their eq. 9): the model is its own baseline. As there, the backbone stays fixed.
"""

from collections.abc import Iterator, Sequence
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
from jaxadv.vocabulary import END


class RewardReport(NamedTuple):
    """Mean CIDEr-D of sampled and of greedy captions since the last report."""

    step: int
    sampled: float
    greedy: float


def sample(victim: Captioner, params: Params, features: Features, key: Array) -> Caption:
    """Sample a caption word by word."""

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
    """Return the words of a padded caption and its end, which CIDEr-D counts as a word.

    As in ruotianluo's rewards: without it a caption that never ends would cost nothing.
    """
    said = tokens.tolist()
    return tuple(said[: said.index(END) + 1] if END in said else said)


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
) -> Iterator[tuple[RewardReport, Params]]:
    """Fine-tune a captioner's decoder by its CIDEr-D.

    Args:
      victim: the captioner.
      params: the decoder's parameters, as `victim.begin` and the others take them.
      features: what `victim.encode` made of the n pictures, leading axis n.
      references: of each picture, its true captions as `words` gives them.
      steps: optimiser steps.
      batch: pictures a step.
      learning_rate: Adam's.
      key: of samples and order.
      report_every: steps between reports.

    Yields:
      a report and the parameters as they are then.
    """
    statistics = document_frequencies(references)
    prepared = [prepare(own, statistics) for own in references]
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(learning_rate))

    @jax.jit
    def speak(params: Params, features: Features, keys: Array) -> tuple[Array, Array]:
        sampled = jax.vmap(lambda f, k: sample(victim, params, f, k).tokens)(features, keys)
        return sampled, jax.vmap(lambda f: greedy(victim, params, f).tokens)(features)

    @jax.jit
    def step(
        params: Params, state: Any, features: Features, tokens: Array, advantage: Array
    ) -> tuple[Params, Any]:
        def loss(params: Params) -> Array:
            log_p = jax.vmap(lambda f, s: caption_log_probability(victim, params, f, s))
            return -(advantage * log_p(features, tokens)).mean()

        updates, state = optimiser.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimiser.init(params)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    rewards: list[tuple[float, float]] = []
    for number in range(steps):
        rows = rng.choice(len(references), size=batch, replace=False)
        seen = jax.tree.map(lambda x: x[rows], features)  # noqa: B023 - used at once
        keys = jax.random.split(jax.random.fold_in(key, number), batch)
        sampled, baseline = speak(params, seen, keys)

        def reward(captions: Array, rows: np.ndarray = rows) -> np.ndarray:
            said = np.asarray(captions)
            pairs = zip(said, rows, strict=True)
            return np.array([cider_d(words(s), prepared[r], statistics) for s, r in pairs])

        of_sample, of_greedy = reward(sampled), reward(baseline)
        rewards.append((float(of_sample.mean()), float(of_greedy.mean())))
        advantage = jnp.asarray(of_sample - of_greedy, jnp.float32)
        params, state = step(params, state, seen, sampled, advantage)
        if (number + 1) % report_every == 0 or number + 1 == steps:
            mean = np.mean(rewards, axis=0)
            rewards.clear()
            yield RewardReport(number + 1, float(mean[0]), float(mean[1])), params
