"""CMLA as the paper prints it, in NumPy: loops over i and j, derivatives and Adam by hand.

Written from the text of the paper, without JAX and without the library. Pictures are in 0..255, as
there; the networks are those of `tiny_hasher`.
"""

import numpy as np


def image_code(params, picture):
    return np.tanh(params["hash"] @ np.tanh(params["see"] @ (picture.reshape(-1) / 255 - 0.5)))


def text_code(params, bag):
    return params["say"] @ np.tanh(params["read"] @ bag)


def image_jacobian(params, picture):
    """∂Ĥ_k / ∂ pixel in 0..255."""
    hidden = np.tanh(params["see"] @ (picture.reshape(-1) / 255 - 0.5))
    outer = 1 - np.tanh(params["hash"] @ hidden) ** 2
    return (outer[:, None] * params["hash"] * (1 - hidden**2)) @ params["see"] / 255


def text_jacobian(params, bag):
    hidden = np.tanh(params["read"] @ bag)
    return (params["say"] * (1 - hidden**2)) @ params["read"]


def norm(epsilon, p):
    if p == "l1":
        return np.abs(epsilon).sum()
    return np.sqrt((epsilon**2).sum()) if p == "l2" else np.abs(epsilon).max()


def norm_slope(epsilon, p):
    """A (sub)gradient of the norm; zero at zero."""
    if p == "l1":
        return np.sign(epsilon)
    if p == "l2":
        return epsilon / norm(epsilon, p) if norm(epsilon, p) else 0 * epsilon
    largest = np.abs(epsilon) == np.abs(epsilon).max()
    return np.sign(epsilon) * largest / largest.sum()


def equation_5(codes, other, own, similar, perturbations, weights=(1, 1, 1), p="l1"):
    """The whole batch's objective, sums over i and j as printed; eq. 6 with the roles exchanged.

    Args:
      codes: Ĥ, a row an attacked example i.
      other, own: H of the other and of the same modality, a row an item j.
      similar: S, by i and j.
      perturbations: ô_i - o_i.
      weights: α, β and γ.
      p: of the norm.
    """
    alpha, beta, gamma = weights
    total = 0.0
    for i in range(len(codes)):
        for j in range(len(other)):
            big_gamma = 0.5 * float(codes[i] @ other[j])
            total += alpha * (np.log(1 + np.exp(-big_gamma)) + similar[i][j] * big_gamma)
            theta = 0.5 * float(codes[i] @ own[j])
            total += beta * (np.log(1 + np.exp(theta)) - similar[i][j] * theta)
        total += gamma * norm(perturbations[i], p)
    return total


def slope_of_code(code, other, own, similar, weights=(1, 1, 1)):
    """∂ (eq. 5 without the norm) / ∂Ĥ_i, by hand."""
    alpha, beta, _ = weights
    slope = np.zeros(len(code))
    for j in range(len(other)):
        big_gamma, theta = 0.5 * code @ other[j], 0.5 * code @ own[j]
        slope += alpha * (similar[j] - 1 / (1 + np.exp(big_gamma))) * 0.5 * other[j]
        slope += beta * (1 / (1 + np.exp(-theta)) - similar[j]) * 0.5 * own[j]
    return slope


def attack(
    modality, params, start, other, own, similar, *, bound, rate, steps, weights, p, non_negative
):
    """Adam on δ, kept within the bound, and o + δ within 0..255 or 0..1; losses and the last δ."""
    code_of, jacobian = {
        "image": (image_code, image_jacobian),
        "text": (text_code, text_jacobian),
    }[modality]
    top = 255 if modality == "image" else 1
    delta, first, second, losses = np.zeros(start.shape), 0.0, 0.0, []
    for step in range(1, steps + 1):
        code = code_of(params, start + delta)
        losses.append(equation_5([code], other, own, [similar], [delta], weights, p))
        slope = slope_of_code(code, other, own, similar, weights) @ jacobian(params, start + delta)
        slope = slope.reshape(start.shape) + weights[2] * norm_slope(delta, p)
        first = 0.9 * first + 0.1 * slope
        second = 0.999 * second + 0.001 * slope**2
        root = np.sqrt(second / (1 - 0.999**step))
        delta = delta - rate * (first / (1 - 0.9**step)) / (root + 1e-8)
        delta = np.clip(delta, 0 if non_negative else -bound, bound)
        delta = np.clip(start + delta, 0, top) - start
    return losses, delta
