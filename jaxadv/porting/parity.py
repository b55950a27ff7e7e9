"""Whether a ported victim is numerically the network that it was.

The owner of a checkpoint has the code that runs it. A reference is an `.npz` file with a few inputs
and what that code makes of them:

| kind | arrays |
|---|---|
| captioner | `images`, `tokens` i32[n, T], `log_probabilities` f32[n, T, V] before each place |
| classifier | `images`, `logits` f32[n, c] |
| hasher | `images`, `image_codes` f32[n, K] and `tags` f32[m, T], `text_codes` f32[m, K] |

`images` are f32[n, H, W, 3] in [0, 1], before the network's own normalisation; words have the
victim's numbers.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.captions.captioner import Captioner, log_probabilities
from jaxadv.formats.errors import PortingError
from jaxadv.formats.numpy_archive import read_npz
from jaxadv.hashing.hasher import CrossModalHasher
from jaxadv.labels.classifier import MultiLabelClassifier
from jaxadv.victims.architectures import Functions, Params

ROUNDING = 1e-4  # the most that two correct networks differ by in single precision

Comparison = tuple[tuple[str, ...], str, Callable[..., Any]]
"""Names of the inputs and of the output, and `(params, *inputs) -> output` for one example."""


def comparisons(functions: Functions) -> list[Comparison]:
    """Say what of a victim a reference is compared with."""
    match functions:
        case Captioner():

            def spoken(params: Params, image: Any, tokens: Any) -> Any:
                return log_probabilities(functions, params, functions.encode(params, image), tokens)

            return [(("images", "tokens"), "log_probabilities", spoken)]
        case MultiLabelClassifier():
            return [(("images",), "logits", functions.logits)]
        case CrossModalHasher():
            return [
                (("images",), "image_codes", functions.image_code),
                (("tags",), "text_codes", functions.text_code),
            ]


def parity_error(functions: Functions, params: Params, reference: Path) -> float:
    """Return the largest difference between a victim's outputs and a reference's.

    Raises:
      PortingError: the file cannot be read, lacks an array or has one of another shape, or the
        difference is more than rounding.
    """
    arrays = read_npz(reference)
    error = 0.0
    for inputs, output, function in comparisons(functions):
        missing = [name for name in (*inputs, output) if name not in arrays]
        if missing:
            raise PortingError(f"{reference}: lacks {', '.join(missing)}")
        for name in (*inputs, output):
            _check_numbers(arrays[name], name, reference)
        if isinstance(functions, Captioner):
            _check_tokens(arrays["tokens"], functions.vocabulary.size, reference)
        if len({len(arrays[name]) for name in (*inputs, output)}) > 1:
            lengths = ", ".join(f"{name} {len(arrays[name])}" for name in (*inputs, output))
            raise PortingError(f"{reference}: not as many of each ({lengths})")
        given = tuple(jnp.asarray(arrays[name]) for name in inputs)
        one_by_one = jax.jit(
            lambda params, given, f=function: jax.lax.map(lambda x: f(params, *x), given)
        )
        try:
            found = np.asarray(one_by_one(params, given))
        except Exception:  # JAX refuses shapes in many ways, in its own words
            shapes = ", ".join(f"{name} {arrays[name].shape}" for name in inputs)
            raise PortingError(
                f"{reference}: the victim does not take {shapes}; pictures are to be n x "
                f"{' x '.join(map(str, functions.image_shape))}"
            ) from None
        wanted = arrays[output]
        if found.shape != wanted.shape:
            raise PortingError(
                f"{reference}: {output} of shape {wanted.shape}; the victim's are {found.shape}"
            )
        difference = float(np.max(np.abs(found - wanted)))
        if not difference <= ROUNDING:
            raise PortingError(
                f"{reference}: {output} differ by up to {difference:.2g}, where rounding is at "
                f"most {ROUNDING:g}: another architecture, or pictures that are not in [0, 1]"
            )
        error = max(error, difference)
    return error


def _check_numbers(array: np.ndarray, name: str, reference: Path) -> None:
    """Refuse what would compare nothing, or be coerced."""
    if not array.ndim or not array.size:
        raise PortingError(f"{reference}: {name} of shape {array.shape}; nothing to compare with")
    if name == "tokens":
        if array.dtype.kind not in "iu":
            raise PortingError(f"{reference}: {name} must be whole numbers, not {array.dtype}")
        return
    if array.dtype.kind != "f":
        raise PortingError(f"{reference}: {name} must be floating-point, not {array.dtype}")
    if not np.isfinite(array).all():
        raise PortingError(f"{reference}: {name} holds NaN or infinite numbers")
    if name == "images" and not (array.min() >= 0 and array.max() <= 1):
        raise PortingError(f"{reference}: {name} must be in [0, 1], before any normalisation")


def _check_tokens(tokens: np.ndarray, size: int, reference: Path) -> None:
    if tokens.min() < 0 or tokens.max() >= size:
        raise PortingError(f"{reference}: tokens must be numbers of words, from 0 to {size - 1:,}")
