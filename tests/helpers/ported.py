"""Ported taggers beside the networks that their files are of."""

import jax
import jax.numpy as jnp
import numpy as np


def logits_and_gradient(net, torch, pictures, weights):
    """A PyTorch network's logits in double precision, and the pictures' gradient of their sum."""
    inputs = torch.from_numpy(pictures).requires_grad_()
    logits = net.eval().double()(inputs.permute(0, 3, 1, 2))
    (logits * torch.from_numpy(weights)).sum().backward()
    return logits.detach().numpy(), inputs.grad.numpy()


def assert_same_logits(ported, net, torch, pictures, double=1e-10, single=1e-4):
    """A ported tagger gives the logits and input gradients of the network, in both precisions.

    PyTorch is asked in double precision. Rounding to single precision may flip a ReLU on some
    pictures, where a gradient jumps; hardly on all.

    Args:
      ported: what `port` made of the network's file.
      net: the network.
      torch: PyTorch.
      pictures: f64[n, H, W, 3] in [0, 1].
      double: largest error in double precision, relative to the largest entry.
      single: the same in single precision.
    """
    shape = (len(pictures), len(ported.names["classes"]))
    weights = np.random.default_rng(2).normal(size=shape)
    expected = logits_and_gradient(net, torch, pictures, weights)
    assert np.ptp(expected[0]) > 0.1
    tagger = ported.architecture.functions(ported.names)
    for precision, tolerance in ((np.float64, double), (np.float32, single)):
        in_double = precision is np.float64
        with jax.enable_x64(in_double), jax.default_matmul_precision("highest"):
            variables, images, scales = jax.tree.map(
                lambda x, kind=precision: jnp.asarray(x, kind),
                (ported.variables, pictures, weights),
            )

            def total(images, variables=variables, scales=scales):
                logits = jax.vmap(tagger.logits, in_axes=(None, 0))(variables, images)
                return (logits * scales).sum(), logits

            gradient, logits = jax.jit(jax.grad(total, has_aux=True))(images)
        of_logits, of_gradient = map(_errors, (logits, gradient), expected)
        assert of_logits.max() <= tolerance
        assert (of_gradient.max() if in_double else of_gradient.min()) <= tolerance


def _errors(found, expected):
    """The largest error of each picture, relative to the largest entry of all."""
    errors = np.abs(np.asarray(found) - expected) / np.abs(expected).max()
    return errors.max(axis=tuple(range(1, errors.ndim)))
