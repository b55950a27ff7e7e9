"""CLIP and SigLIP of the Hugging Face Hub as victims: retrievers, and taggers of given classes."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.formats.errors import PortingError, listed, quoted
from jaxadv.porting.fitting import fit
from jaxadv.porting.hub_clip_tables import clip_table, clip_unused
from jaxadv.porting.port import Ported
from jaxadv.porting.published import Published
from jaxadv.victims.architectures import HALF, Names, Params
from jaxadv.victims.hub_encoders import HubRetrieverArchitecture, HubTaggerArchitecture
from jaxadv.victims.nets.clip import CLIP_MEAN, CLIP_STD

COLOURS = {"clip": (CLIP_MEAN, CLIP_STD), "siglip": (HALF, HALF)}
"""Means and standard deviations where the publisher does not say them."""


def port_retriever(model: Published) -> Ported:
    """Turn the files of CLIP or SigLIP into the Flax variables of a retriever.

    Raises:
      PortingError: a file is missing or damaged.
    """
    architecture = _both(model)
    names = {"tokenizer": (model.tokenizer(),)}
    architecture.reader(names)  # before the weights, which may be large, are read
    arrays, sources = model.weights()
    for name in clip_unused(arrays):
        del arrays[name]
    tree = architecture.shapes(names)
    variables, mapped = fit(arrays, clip_table(tree), tree, model.name)
    return Ported(architecture, names, variables, mapped, sources)


def port_tagger(model: Published, classes: tuple[str, ...], prompt: str = "") -> Ported:
    """Turn the files of CLIP or SigLIP into the Flax variables of a tagger.

    Args:
      model: its files.
      classes: the tagger's.
      prompt: the text for a class, with `{}` for its name.

    Raises:
      PortingError: a file is missing or damaged, or the prompt has no place for a class.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise PortingError(f"classes: must be at least two, each once, not {listed(classes)}")
    prompt = prompt or HubTaggerArchitecture.prompt
    if prompt.count("{}") != 1:
        raise PortingError(f"prompt {quoted(prompt)}: must have {{}} once, where a class is named")
    both, read = _both(model), port_retriever(model)
    made = HubTaggerArchitecture(both.config, both.mean, both.std, prompt)
    names = {"classes": classes}
    texts = [prompt.replace("{}", name) for name in classes]
    leaves = made.shapes(names)["params"]
    variables = {
        "params": {
            "encoder": {name: read.variables["params"][name] for name in leaves["encoder"]},
            "classes": class_embeddings(both, read.names, read.variables, texts),
        }
    }
    return read._replace(architecture=made, names=names, variables=variables)


def _both(model: Published) -> HubRetrieverArchitecture:
    mean, std = COLOURS[model.config["model_type"]]
    return HubRetrieverArchitecture(
        dict(model.config),
        mean=model.colour("image_mean", mean),
        std=model.colour("image_std", std),
    )


def class_embeddings(
    architecture: HubRetrieverArchitecture, names: Names, variables: Params, texts: Sequence[str]
) -> np.ndarray:
    """Embed the texts that stand for classes, f32[c, size].

    Args:
      architecture: of both encoders.
      names: its tokenizer.
      variables: of both encoders.
      texts: c of them.
    """
    reader = architecture.reader(names)
    embed = jax.jit(partial(architecture.encoders().apply, method="text_embedding"))
    return np.stack([embed(variables, jnp.asarray(reader.encode(text))) for text in texts])
