"""The label attacks as the paper prints them, in NumPy: loops and sorts, derivatives by hand.

Written from the text of the TkMIA paper, without JAX and without the library. Pictures are in
[0, 1]; the perturbation ε is that of the picture in [-1, 1], as in the paper's section 5.1.
The network is `sigmoid(out tanh(see (x - 0.5)) + bias)`.
"""

import numpy as np

MOMENTUM = 0.9


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def scores(params, picture):
    hidden = np.tanh(params["see"] @ (picture.reshape(-1) - 0.5))
    return sigmoid(params["out"] @ hidden + params["bias"])


def jacobian(params, picture):
    """∂f_i / ∂ε for ε in [-1, 1] units, a row a label: half of that by the picture in [0, 1]."""
    hidden = np.tanh(params["see"] @ (picture.reshape(-1) - 0.5))
    f = scores(params, picture)
    rows = []
    for i in range(len(f)):
        d_hidden = f[i] * (1 - f[i]) * params["out"][i] * (1 - hidden**2)
        rows.append((d_hidden @ params["see"]).reshape(picture.shape) / 2)
    return rows


def highest(f, labels):
    """The label of the highest score among some."""
    best = labels[0]
    for i in labels:
        if f[i] > f[best]:
            best = i
    return best


def lowest(f, labels):
    return highest(-f, labels)


def split(relevant, specified):
    every = range(len(relevant))
    s = [i for i in every if specified[i]]
    rest = [i for i in every if relevant[i] and not specified[i]]
    y = [i for i in every if relevant[i]]
    irrelevant = [i for i in every if not relevant[i]]
    return s, rest, y, irrelevant


def hinge(a):
    return max(0.0, a)


def eq_6(f, relevant, specified, k, lambda_1, lambda_2):
    """Eq. 6 without the norm, at given multipliers."""
    s, rest, _, _ = split(relevant, specified)
    c = len(f)
    top = max(f[i] for i in s)
    low = min(f[i] for i in rest)
    total = lambda_1 + lambda_2
    for i in range(c):
        total += hinge(top - f[i] - lambda_1) / (c - k)
        total += hinge(f[i] - low - lambda_2) / k
    return total


def eq_6_minimum(f, relevant, specified, k):
    """Eq. 6 minimised over both multipliers in [0, 1]: at an end or at a kink of the hinges."""
    s, rest, _, _ = split(relevant, specified)
    top = max(f[i] for i in s)
    low = min(f[i] for i in rest)
    ones = [0.0, 1.0] + [d for d in (top - f).tolist() if 0 <= d <= 1]
    twos = [0.0, 1.0] + [d for d in (f - low).tolist() if 0 <= d <= 1]
    return min(eq_6(f, relevant, specified, k, a, b) for a in ones for b in twos)


def mean_of_top_gradient(gaps, gradients, m):
    """The gradient of `(1/m) sum_{i<=m} gaps_[i]` of hinged gaps (eqs. 1, 4, 5)."""
    order = sorted(range(len(gaps)), key=lambda i: -gaps[i])
    total = np.zeros_like(gradients[0])
    for i in order[:m]:
        if gaps[i] > 0:
            total = total + gradients[i] / m
    return total


def tkmia(params, picture, relevant, specified, k):
    """Eq. 6's loss without the norm and its gradient by ε, λ minimised."""
    f, rows = scores(params, picture), jacobian(params, picture)
    s, rest, _, _ = split(relevant, specified)
    top, low = highest(f, s), lowest(f, rest)
    c = len(f)
    first = mean_of_top_gradient([f[top] - x for x in f], [rows[top] - r for r in rows], c - k)
    second = mean_of_top_gradient([x - f[low] for x in f], [r - rows[low] for r in rows], k)
    return eq_6_minimum(f, relevant, specified, k), first + second


def tkmia_algorithm_1(params, picture, relevant, specified, k, lambdas):
    """Eq. 6's loss without the norm, its gradient by ε and its gradient by (λ1, λ2)."""
    f, rows = scores(params, picture), jacobian(params, picture)
    s, rest, _, _ = split(relevant, specified)
    top, low = highest(f, s), lowest(f, rest)
    c = len(f)
    by_picture, by_lambda = np.zeros_like(rows[0]), np.ones(2)
    for i in range(c):
        if f[top] - f[i] - lambdas[0] > 0:
            by_picture = by_picture + (rows[top] - rows[i]) / (c - k)
            by_lambda[0] -= 1 / (c - k)
        if f[i] - f[low] - lambdas[1] > 0:
            by_picture = by_picture + (rows[i] - rows[low]) / k
            by_lambda[1] -= 1 / k
    return eq_6(f, relevant, specified, k, *lambdas), by_picture, by_lambda


def tkml_ap_u(params, picture, relevant, k):
    """The relaxation of `[max_Y f - f_[k+1]]_+`, and its gradient by ε."""
    f, rows = scores(params, picture), jacobian(params, picture)
    _, _, y, _ = split(relevant, relevant)
    top, c = highest(f, y), len(f)
    gaps = [hinge(f[top] - x) for x in f]
    value = sum(sorted(gaps, reverse=True)[: c - k]) / (c - k)
    return value, mean_of_top_gradient(gaps, [rows[top] - r for r in rows], c - k)


def ml_cw_u(params, picture, relevant):
    """`[max_{j in Y} f_j - min_{i not in Y} f_i]_+`, and its gradient by ε."""
    f, rows = scores(params, picture), jacobian(params, picture)
    _, _, y, irrelevant = split(relevant, relevant)
    top, low = highest(f, y), lowest(f, irrelevant)
    gap = f[top] - f[low]
    return hinge(gap), (rows[top] - rows[low]) if gap > 0 else np.zeros_like(rows[0])


def kfool_step(params, picture, relevant, k):
    """One step of kFool (ε in [-1, 1] units): along the bisector, by the sum of the distances."""
    f, rows = scores(params, picture), jacobian(params, picture)
    _, _, y, irrelevant = split(relevant, relevant)
    top = highest(f, y)
    w, distance = np.zeros_like(rows[0]), 0.0
    for i in sorted(irrelevant, key=lambda i: -f[i])[:k]:
        normal = rows[i] - rows[top]
        length = np.sqrt((normal**2).sum())
        w = w + normal / length
        distance += (f[i] - f[top]) / length
    return abs(distance) * w / np.sqrt((w**2).sum())


def excluded(f, specified, k):
    """How many specified labels are not among the first k; of equals, the first label leads."""
    order = sorted(range(len(f)), key=lambda i: (-f[i], i))
    return sum(1 for i in order[k:] if specified[i])


def attack(params, image, relevant, specified, k, method, *, alpha, rate, steps, delta=None):
    """Twenty lines of Algorithm 1 with SGD and momentum; `method(picture, state)` is the gradient.

    Returns the last ε, the losses before each step, and whether it stopped.
    """
    delta = sum(specified) if delta is None else delta
    epsilon, velocity = np.zeros_like(image), np.zeros_like(image)
    losses = []
    for _ in range(steps):
        picture = image + epsilon / 2
        if excluded(scores(params, picture), specified, k) >= delta:
            return epsilon, losses, True
        value, gradient = method(picture)
        losses.append(value + alpha / 2 * (epsilon**2).sum())
        velocity = MOMENTUM * velocity + gradient + alpha * epsilon
        epsilon = epsilon - rate * velocity
        epsilon = 2 * (np.clip(image + epsilon / 2, 0, 1) - image)
    return epsilon, losses, False
