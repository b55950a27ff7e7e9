"""How well an image's labels stand at the top of the ranking, and what an attack changes there.

The measures of section 5.1 of Sun et al., "When Measures are Unreliable: Imperceptible Adversarial
Perturbations toward Top-k Multi-Label Learning" (TkMIA), ACM MM 2023 (eqs. 7-13), and the mean
average precision that says how good a multi-label classifier is. Unless they say otherwise the
functions take **one** example; `jax.vmap` them:

- `scores: f32[c]`: of each class. The higher ranks first; of equal scores, the lower class number
  (the paper assumes that there are none, section 3.1).
- `relevant: bool[c]`: the paper's Y_p. `specified: bool[c]`: its S, the classes to be excluded; of
  them only the relevant ones count ("partial indices of the relevant categories", section 4.1).
- `k: i32[]`, from 1 to c, an array: other values of it do not compile again.

The paper is the default (`form="paper"`). Two of its formulas are not what its released code
(`evaluate_metrics.py`) computes, and **its tables come from the code** (`form="released"`):

- TkAcc (eq. 7) asks for Y_p ⊆ π_k. The code asks for π_k ⊆ Y_p where |Y_p| ≥ k. As all images of
  the experiments have |Y_p| ≥ k + |S| (section 5.1), eq. 7 is 0 for each of them, before and after.
- AP@k (eq. 9) is printed with P@k inside the sum, the same for all i. The code has P@i.

Table 15, Household, k = 3, is of a single image (Table 9) and decides: ΔTkAcc is 1, and for kFool
(ΔP@k 0.6667, so one relevant class remains) ΔmAP@k is 0.6667, with eq. 9 as printed 0.8889.

Further differences of the code, which have no option here: its Δ is after minus before, the paper's
is before minus after ("between the original value and the perturbed value", Table 1); its sorts
break ties in no fixed order; its Δl and success count only the specified classes that were in the
top k before the attack, less those that the attack brought there (for nearly the same, give
`specified & top_k(before, k)`).
"""

from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jaxadv import checks

Form = Literal["paper", "released"]


class RankingScores(NamedTuple):
    """The four measures of one example, `f32[]` each, from 0 to 1."""

    top_k_accuracy: Float[Array, ""]
    """TkAcc, eq. 7."""
    precision: Float[Array, ""]
    """P@k, eq. 8."""
    average_precision: Float[Array, ""]
    """AP@k, eq. 9."""
    ndcg: Float[Array, ""]
    """NDCG@k, eq. 11."""


class AttackRow(NamedTuple):
    """A row of the paper's tables, `f32[]` each: averages over a batch of attacked examples."""

    top_k_accuracy: Float[Array, ""]
    """ΔTkAcc: before minus after, as the next three; the smaller, the less the measures see."""
    precision: Float[Array, ""]
    """ΔP@k."""
    average_precision: Float[Array, ""]
    """ΔmAP@k, the mean over **examples** of AP@k, as in the released code.

    Eq. 10 averages over classes, of which one example has no AP: `mean_average_precision_at_k`.
    """
    ndcg: Float[Array, ""]
    """ΔNDCG@k."""
    excluded: Float[Array, ""]
    """Δl, eq. 12."""
    perturbation: Float[Array, ""]
    """APer, eq. 13, over the **successful** examples, in units of the given perturbation."""
    perturbation_255: Float[Array, ""]
    """APer where the perturbation, given for pixels in [0, 1], is counted for pixels 0 to 255."""
    success_rate: Float[Array, ""]
    """Share of the examples with enough specified classes excluded: `attack_success`."""


def top_k(scores: Float[Array, " c"], k: Int[Array, ""]) -> Bool[Array, " c"]:
    """Return which classes are the first k of the ranking, the paper's π_k (`bool[c]`).

    >>> [int(c) for c in top_k(jnp.array([0.1, 0.7, 0.7, 0.9]), jnp.array(2))]
    [0, 1, 0, 1]

    Raises:
      InputError: scores that are not finite, or k outside 1 to c.
    """
    _check(scores, k)
    return jnp.zeros(scores.shape, bool).at[_ranking(scores)].set(jnp.arange(scores.size) < k)


def top_k_accuracy(
    scores: Float[Array, " c"], relevant: Bool[Array, " c"], k: Int[Array, ""], form: Form = "paper"
) -> Float[Array, ""]:
    """Return 1 if all relevant classes are in the top k, else 0 (TkAcc, `f32[]`, eq. 7).

    `form="released"`: where there are k relevant classes or more, 1 if the top k are all relevant.

    >>> scores, relevant = jnp.array([0.9, 0.8, 0.1]), jnp.array([True, True, False])
    >>> [float(top_k_accuracy(scores, relevant, jnp.array(k))) for k in (1, 2)]
    [0.0, 1.0]
    >>> float(top_k_accuracy(scores, relevant, jnp.array(1), form="released"))
    1.0

    Raises:
      InputError: scores that are not finite, k outside 1 to c, or an unknown form.
    """
    _check(scores, k, form)
    top = top_k(scores, k)
    accurate = jnp.all(top | ~relevant)
    if form == "released":
        accurate = jnp.where(k > relevant.sum(), accurate, jnp.all(relevant | ~top))
    return accurate.astype(jnp.float32)


def precision_at_k(
    scores: Float[Array, " c"], relevant: Bool[Array, " c"], k: Int[Array, ""]
) -> Float[Array, ""]:
    """Return the share of relevant classes among the top k (P@k, `f32[]`, eq. 8).

    >>> float(precision_at_k(jnp.array([0.9, 0.8]), jnp.array([False, True]), jnp.array(2)))
    0.5

    Raises:
      InputError: scores that are not finite, or k outside 1 to c.
    """
    _check(scores, k)
    return jnp.sum(top_k(scores, k) & relevant) / k


def average_precision_at_k(
    scores: Float[Array, " c"], relevant: Bool[Array, " c"], k: Int[Array, ""], form: Form = "paper"
) -> Float[Array, ""]:
    """Return the precision at k, averaged over the relevant classes (AP@k, `f32[]`, eq. 9).

    1 / N_k Σ_{i ≤ k} y_[i] P@k, with N_k = min(k, |Y_p|), as printed; `form="released"`: P@i. It is
    0 without relevant classes.

    >>> scores, relevant = jnp.array([0.9, 0.8, 0.1, 0.0]), jnp.array([True, False, False, True])
    >>> float(average_precision_at_k(scores, relevant, jnp.array(4)))
    0.5
    >>> float(average_precision_at_k(scores, relevant, jnp.array(4), form="released"))
    0.75

    Raises:
      InputError: scores that are not finite, k outside 1 to c, or an unknown form.
    """
    _check(scores, k, form)
    places = jnp.arange(1, scores.size + 1)
    hits = relevant[_ranking(scores)] & (places <= k)
    precisions = hits.sum() / k if form == "paper" else hits.cumsum() / places
    return jnp.sum(hits * precisions) / jnp.maximum(jnp.minimum(k, relevant.sum()), 1)


def ndcg_at_k(
    scores: Float[Array, " c"], relevant: Bool[Array, " c"], k: Int[Array, ""]
) -> Float[Array, ""]:
    """Return the discounted cumulative gain over the greatest possible (NDCG@k, `f32[]`, eq. 11).

    It is 0 without relevant classes.

    >>> scores, relevant = jnp.array([0.9, 0.8, 0.1]), jnp.array([True, False, False])
    >>> float(ndcg_at_k(scores, relevant, jnp.array(2)))
    1.0

    Raises:
      InputError: scores that are not finite, or k outside 1 to c.
    """
    _check(scores, k)
    places = jnp.arange(1, scores.size + 1)
    gains = jnp.where(places <= k, 1 / jnp.log2(places + 1), 0)
    ideal = jnp.sum(gains, where=places <= relevant.sum())
    return jnp.sum(gains, where=relevant[_ranking(scores)]) / jnp.where(ideal > 0, ideal, 1)


def ranking_scores(
    scores: Float[Array, " c"], relevant: Bool[Array, " c"], k: Int[Array, ""], form: Form = "paper"
) -> RankingScores:
    """All four measures of one example.

    Raises:
      InputError: scores that are not finite, k outside 1 to c, or an unknown form.
    """
    _check(scores, k, form)
    return RankingScores(
        top_k_accuracy(scores, relevant, k, form),
        precision_at_k(scores, relevant, k),
        average_precision_at_k(scores, relevant, k, form),
        ndcg_at_k(scores, relevant, k),
    )


def excluded(
    after: Float[Array, " c"],
    relevant: Bool[Array, " c"],
    specified: Bool[Array, " c"],
    k: Int[Array, ""],
) -> Int[Array, ""]:
    """Return how many specified classes are not in the top k after the attack (`i32[]`, eq. 12).

    |S| - |S'| of one example; its mean over all examples is the paper's Δl.

    >>> after, every = jnp.array([0.9, 0.8, 0.1]), jnp.ones(3, bool)
    >>> int(excluded(after, every, jnp.array([False, True, True]), jnp.array(2)))
    1
    """
    return jnp.sum(specified & relevant & ~top_k(after, k))


def attack_success(
    after: Float[Array, " c"],
    relevant: Bool[Array, " c"],
    specified: Bool[Array, " c"],
    k: Int[Array, ""],
    threshold: Int[Array, ""] | None = None,
) -> Bool[Array, ""]:
    """Return whether enough specified classes are excluded (`bool[]`, section 5.1).

    Args:
      after: scores after the attack.
      relevant: Y_p.
      specified: S.
      k: places that count as the top.
      threshold: the paper's δ, the least number of classes. By default all of S, as the paper's
        global scheme asks; its random scheme gives a smaller one.
    """
    if threshold is None:
        threshold = jnp.sum(specified & relevant)
    return excluded(after, relevant, specified, k) >= threshold


def average_perturbation(
    perturbations: Float[Array, "n ..."], successes: Bool[Array, " n"]
) -> Float[Array, ""]:
    """Return the mean L2 norm of the successful perturbations of a batch (APer, `f32[]`, eq. 13).

    "The average successful perturbation", in the paper's words and in the released code, whose
    perturbations however are in units before the tanh. The formula sums over n instances, without
    saying which: for all of them, let all be `successes`. It is nan where there are none.

    Args:
      perturbations: ε, f32[n, ...].
      successes: bool[n].

    >>> perturbations = jnp.array([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
    >>> float(average_perturbation(perturbations, jnp.array([True, True, False])))
    3.0
    """
    norms = jnp.linalg.norm(perturbations.reshape(len(perturbations), -1), axis=1)
    return jnp.mean(norms, where=successes)


def attack_row(
    before: Float[Array, "n c"],
    after: Float[Array, "n c"],
    relevant: Bool[Array, "n c"],
    specified: Bool[Array, "n c"],
    k: Int[Array, ""],
    perturbations: Float[Array, "n ..."],
    threshold: Int[Array, ""] | None = None,
    form: Form = "paper",
) -> AttackRow:
    """Return a row of the paper's tables for a batch of n attacked examples.

    Args:
      before: scores of the benign images, f32[n, c].
      after: scores of the adversarial images, f32[n, c].
      relevant: bool[n, c].
      specified: bool[n, c].
      k: i32[], the same for the batch.
      perturbations: f32[n, ...], of pixels in [0, 1].
      threshold: δ, i32[]; by default all of S, as in `attack_success`.
      form: of TkAcc and AP@k; "released" to compare with the paper's tables.

    Raises:
      InputError: scores that are not finite, k outside 1 to c, or an unknown form.
    """
    _check(before[0], k, form)
    checks.all_finite("before", before)
    checks.all_finite("after", after)
    if threshold is not None:
        checks.whole("threshold", threshold, 1)

    def measure(scores: Float[Array, "n c"]) -> RankingScores:
        return jax.vmap(lambda s, y: ranking_scores(s, y, k, form))(scores, relevant)

    changes: RankingScores = jax.tree.map(
        lambda b, a: jnp.mean(b - a), measure(before), measure(after)
    )
    gone = jax.vmap(excluded, (0, 0, 0, None))(after, relevant, specified, k)
    successes = jax.vmap(attack_success, (0, 0, 0, None, None))(
        after, relevant, specified, k, threshold
    )
    size = average_perturbation(perturbations, successes)
    return AttackRow(*changes, jnp.mean(gone), size, 255 * size, jnp.mean(successes))


def mean_average_precision_at_k(
    scores: Float[Array, "n c"],
    relevant: Bool[Array, "n c"],
    k: Int[Array, ""],
    form: Form = "paper",
) -> Float[Array, ""]:
    """Return the mean over classes of AP@k over a data set (mAP@k, `f32[]`, eq. 10).

    AP_j@k is that of eq. 9 with the **images** ranked by their score of class j, so k counts
    images. The released code averages over images the AP@k of each: `AttackRow.average_precision`.

    Args:
      scores: f32[n, c].
      relevant: bool[n, c].
      k: from 1 to n.
      form: of AP@k.

    Raises:
      InputError: scores that are not finite, k outside 1 to n, or an unknown form.
    """
    _check(scores, k, form)
    checks.all_finite("scores", scores)
    each = jax.vmap(lambda s, y: average_precision_at_k(s, y, k, form), in_axes=1)
    return jnp.mean(each(scores, relevant))


def average_precision(scores: Float[Array, " c"], relevant: Bool[Array, " c"]) -> Float[Array, ""]:
    """Return the area under the precision-recall curve of a ranking (`f32[]`).

    Σ (R_i - R_{i-1}) P_i over the distinct scores: items of equal score are retrieved together. It
    is 0 where nothing is relevant. scikit-learn's `average_precision_score`.

    >>> scores, relevant = jnp.array([0.9, 0.8, 0.8]), jnp.array([True, True, False])
    >>> round(float(average_precision(scores, relevant)), 4)
    0.8333
    """
    order = _ranking(scores)
    hits, descending = relevant[order], -scores[order]
    reached = jnp.searchsorted(descending, descending, side="right")  # places up to the last equal
    precisions = jnp.cumsum(hits)[reached - 1] / reached
    return jnp.sum(precisions, where=hits) / jnp.maximum(relevant.sum(), 1)


def mean_average_precision(
    scores: Float[Array, "n c"], relevant: Bool[Array, "n c"]
) -> Float[Array, ""]:
    """Return the mean over classes of `average_precision` over a data set (mAP, `f32[]`).

    What a multi-label classifier's quality is given in; scikit-learn's
    `average_precision_score(relevant, scores, average="macro")`.

    Args:
      scores: f32[n, c].
      relevant: bool[n, c]. A class without relevant images counts as 0.

    Raises:
      InputError: scores that are not finite.
    """
    checks.all_finite("scores", scores)
    return jnp.mean(jax.vmap(average_precision, in_axes=1)(scores, relevant))


def _ranking(scores: Float[Array, " c"]) -> Int[Array, " c"]:
    """The classes from first to last, stably: the paper's [1], ..., [c], counted from 0."""
    checks.all_finite("scores", scores)
    return jnp.argsort(-scores, stable=True)


def _check(scores: Float[Array, "*n"], k: Int[Array, ""], form: Form = "paper") -> None:
    checks.whole("k", k, 1, scores.shape[0])
    checks.one_of("form", form, get_args(Form))
