"""Loss terms that DCMH and SSAH share."""

import jax
import jax.numpy as jnp
from jax import Array


def share_label(labels: Array, others: Array) -> Array:
    """Return S, f32[n, m]: 1 where rows of labels f32[n, c] and f32[m, c] share a label, else 0."""
    return (labels @ others.T > 0).astype(labels.dtype)


def half_products(codes: Array, others: Array) -> Array:
    """Return Θ, f32[n, m]: `Θ_ij = ½ F_iᵀ G_j`, of codes F f32[n, K] and G f32[m, K]."""
    return 0.5 * codes @ others.T


def negative_log_likelihood(theta: Array, similar: Array) -> Array:
    """Return `Σ_ij log(1 + e^Θ_ij) - S_ij Θ_ij`: `-ln P(S | Θ)` where `P(S_ij = 1) = σ(Θ_ij)`."""
    return jnp.sum(jax.nn.softplus(theta) - similar * theta)


def quantisation(bits: Array, codes: Array) -> Array:
    """Return `‖B - F‖²`, of bits and codes f32[n, K]."""
    return jnp.sum((bits - codes) ** 2)


def decorrelation(codes: Array) -> Array:
    """Return `‖FᵀF / b - I‖² / K²`, of a batch's codes F f32[b, K]: 0 if the bits are uncorrelated.

    This penalty replaces the constraint of spectral hashing (Weiss et al., NIPS 2008, eq. 4) that
    bits be uncorrelated. Neither DCMH nor SSAH has it.
    """
    count, bits = codes.shape
    return jnp.sum((codes.T @ codes / count - jnp.eye(bits)) ** 2) / bits**2
