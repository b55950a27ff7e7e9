"""CMLA: far from what is alike in the other modality, near to it in one's own (eqs. 3-6).

Li et al., "Cross-Modal Learning with Adversarial Samples", NeurIPS 2019. The codes of the context
stay as they are, so that eq. 5's double sum over i and j falls apart into a loss for each attacked
example i: what is here is one row, `Ĥ f32[K]` against N items of a modality, `H f32[N, K]`. Texts
are attacked by the same loss with the modalities exchanged (eq. 6).

`Ĥ` and `H` are outputs of the hash layers, before the sign (section 3.1). Of a dual encoder they
are embeddings of norm 1, and its logit scale takes the place of the ½: Γ and Θ are the logits of a
pair that the victim was trained by, in both cases.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jaxadv.errors import InputError
from jaxadv.victims.hasher import binary_code

Codes = Literal["unit", "outputs", "signs"]


class Known(NamedTuple):
    """What is known of the victim: all examples of a batch share it.

    Attributes:
      params: its parameters.
      image_codes, text_codes: f32[N, K], what it makes of the context, a set of pictures with
        their texts: the outputs of its hash layers, which `context_codes` scales.
    """

    params: Any
    image_codes: Float[Array, "N K"]
    text_codes: Float[Array, "N K"]


class HashTarget(NamedTuple):
    """What of the context is like an example, and what the example shall find.

    Attributes:
      similar: bool[N], the example's row of S: items that share a label with it.
      wanted: bool[N], items that it shall find in the other modality: the paper's attack wants
        all but the similar ones, a targeted one (which the paper lacks) the attacker's choice.
    """

    similar: Bool[Array, " N"]
    wanted: Bool[Array, " N"]


class Weights(NamedTuple):
    """Of the three terms: α, β and γ of eq. 5, λ, ξ and η of eq. 6 (paper: all 1).

    The released code averages over the context and over an example's M components, and has no ½ in
    Γ and Θ: its loss is this one with `Weights(1 / N, 1 / N, 1 / M)` and twice the signs as codes
    of the context.

    Attributes:
      inter: of the inter-modal term.
      intra: of the intra-modal term; 0 is the paper's ablation (Figure 5).
      distortion: of the perturbation's norm.
    """

    inter: float = 1.0
    intra: float = 1.0
    distortion: float = 1.0


def hash_target(
    labels: Bool[Array, " c"], context: Bool[Array, "N c"], toward: Bool[Array, " c"] | None = None
) -> HashTarget:
    """Make the target of an example.

    Args:
      labels: bool[c], of the example.
      context: bool[N, c], of the context.
      toward: bool[c], labels of what it shall find, any of them; None to find what is not alike.

    >>> context = jnp.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
    >>> hash_target(context[0], context).wanted.tolist()
    [False, True, True]
    >>> hash_target(context[0], context, toward=context[1]).wanted.tolist()
    [False, True, False]

    Raises:
      InputError: the labels are not as many as those of the context.
    """
    for name, mask in (("labels", labels), ("toward", toward)):
        if mask is not None and mask.shape != context.shape[1:]:
            raise InputError(
                f"{name} {list(mask.shape)}: must be as many as the context's, {context.shape[1]}"
            )
    similar = jnp.any(context & labels, axis=-1)
    wanted = ~similar if toward is None else jnp.any(context & toward, axis=-1)
    return HashTarget(similar, wanted)


def context_codes(outputs: Float[Array, "N K"], codes: Codes = "unit") -> Float[Array, "N K"]:
    """Return the codes H of a modality's context from the outputs of its hash layer.

    Eqs. 3 and 4 take the outputs as they are. Where those of one modality are larger than those of
    the other, as DCMH's of pictures are, its term outweighs the other one, whatever α and β say.

    Args:
      outputs: f32[N, K].
      codes: "unit" divides by the root mean square over all N · K outputs, so that both modalities
        count alike; "outputs" are the paper's; "signs" are the released code's.

    >>> context_codes(jnp.array([[3.0, -3.0]])).tolist()
    [[1.0, -1.0]]
    """
    if codes == "signs":
        return binary_code(outputs)
    if codes == "outputs":
        return outputs
    square = jnp.mean(outputs**2)
    return outputs / jnp.sqrt(jnp.where(square > 0, square, 1.0))


def inter_modal(
    code: Float[Array, " K"],
    codes: Float[Array, "N K"],
    wanted: Bool[Array, " N"],
    scale: Float[Array, ""] | float = 0.5,
) -> Float[Array, ""]:
    """`sum_j log(1 + exp(-Γ_j)) + S_j Γ_j` with `Γ_j = ½ Ĥ H_jᵀ` (eq. 3), S what is not wanted.

    It is the negative log-likelihood of what is wanted being similar. The ½ is `scale`.
    """
    gamma = scale * (codes @ code)
    return jnp.sum(jax.nn.softplus(-gamma) + jnp.where(wanted, 0.0, gamma))


def intra_modal(
    code: Float[Array, " K"],
    codes: Float[Array, "N K"],
    similar: Bool[Array, " N"],
    scale: Float[Array, ""] | float = 0.5,
) -> Float[Array, ""]:
    """`sum_j log(1 + exp(Θ_j)) - S_j Θ_j` with `Θ_j = ½ Ĥ H_jᵀ` (eq. 4); the ½ is `scale`."""
    theta = scale * (codes @ code)
    return jnp.sum(jax.nn.softplus(theta) - jnp.where(similar, theta, 0.0))


def finds_wanted(
    code: Float[Array, " K"],
    codes: Float[Array, "N K"],
    wanted: Bool[Array, " N"],
    *,
    signs: bool = True,
) -> Bool[Array, ""]:
    """Return whether the first item that a code retrieves is wanted; bool[].

    The first is that of least Hamming distance, or of the largest inner product, of equal ones the
    first in the context. A code that is not finite finds nothing.

    Args:
      code: f32[K].
      codes: f32[N, K], of the context.
      wanted: bool[N].
      signs: whether codes are compared by their signs; embeddings are not.
    """
    # of signs it is K - 2 Hamming distances
    agreement = binary_code(codes) @ binary_code(code) if signs else codes @ code
    return wanted[jnp.argmax(agreement)] & jnp.isfinite(code).all()
