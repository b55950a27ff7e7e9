"""Equations of DCMH and SSAH as literal sums over i and j, with gradients by finite differences."""

import numpy as np


def similarity(labels, others):
    return np.array(
        [[float(any(a and b for a, b in zip(x, y, strict=True))) for y in others] for x in labels]
    )


def pair_loss(codes, others, similar):
    """`Σ_ij log(1 + e^Θ_ij) - S_ij Θ_ij`, one pair after the other."""
    total = 0.0
    for i in range(len(codes)):
        for j in range(len(others)):
            theta = 0.5 * sum(codes[i][k] * others[j][k] for k in range(len(codes[i])))
            total += np.log1p(np.exp(theta)) - similar[i][j] * theta
    return total


def squares(one, other):
    """`‖X - Y‖²`, element by element."""
    return sum(
        (a - b) ** 2 for x, y in zip(one, other, strict=True) for a, b in zip(x, y, strict=True)
    )


def imbalance(codes):
    """`‖Σ_i F_i‖²`."""
    return sum(sum(code[k] for code in codes) ** 2 for k in range(len(codes[0])))


def correlation(codes):
    """`‖FᵀF / b - I‖² / K²`, bit by bit."""
    bits = range(len(codes[0]))
    together = [[sum(code[k] * code[m] for code in codes) / len(codes) for m in bits] for k in bits]
    return sum((together[k][m] - (k == m)) ** 2 for k in bits for m in bits) / len(bits) ** 2


def difference_quotients(function, values, step=1e-5):
    """The gradient of a function of an array, each place moved to both sides."""
    values = np.asarray(values, np.float64)
    gradient = np.zeros_like(values)
    for place in np.ndindex(values.shape):
        moved = np.zeros_like(values)
        moved[place] = step
        gradient[place] = (function(values + moved) - function(values - moved)) / (2 * step)
    return gradient
