"""What a captioner predicts for pictures, in words."""

from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array

from jaxadv import checks
from jaxadv.captions.captioner import Captioner, Params, beam, greedy
from jaxadv.core.loaded import Loaded, as_pictures


def say(victim: Loaded, images: Any, size: int = 1) -> Any:
    """Caption a picture, or each picture of a batch.

    Args:
      victim: the captioner, with its parameters.
      images: f32[H, W, 3] in [0, 1], or f32[B, H, W, 3].
      size: of the beam; 1 decodes greedily, as attacks are judged.

    Returns:
      the caption; of a batch, a list of captions.

    Raises:
      InputError: the victim is no captioner, or takes pictures of another shape.
    """
    model: Captioner = victim.model
    checks.victim(model, Captioner, "captioner")
    checks.whole("size", size, 1)
    pictures, alone = as_pictures(images, model.image_shape)
    predicted = np.asarray(_captions(model, victim.params, pictures, size))
    captions = [model.vocabulary.decode(tokens) for tokens in predicted]
    return captions[0] if alone else captions


@partial(jax.jit, static_argnums=(0, 3))
def _captions(model: Captioner, params: Params, pictures: Array, size: int) -> Array:
    def caption(picture: Array) -> Array:
        features = model.encode(params, picture)
        if size == 1:
            return greedy(model, params, features).tokens
        return beam(model, params, features, size).tokens

    return jax.vmap(caption)(pictures)
