"""CLIP and SigLIP of the Hugging Face Hub as victims: retrievers, and taggers of given classes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxadv.formats.errors import PortingError, listed, quoted
from jaxadv.porting.fitting import Mapped, fit
from jaxadv.porting.hub_clip_tables import clip_table, clip_unused
from jaxadv.porting.port import Ported, Source
from jaxadv.porting.published import Published
from jaxadv.victims.architectures import Names, Params
from jaxadv.victims.hub_encoders import HubRetrieverArchitecture, HubTaggerArchitecture

MEANS = {"clip": (0.48145466, 0.4578275, 0.40821073), "siglip": (0.5, 0.5, 0.5)}
STDS = {"clip": (0.26862954, 0.26130258, 0.27577711), "siglip": (0.5, 0.5, 0.5)}


def port_retriever(model: Published) -> Ported:
    """Turn the files of CLIP or SigLIP into the Flax variables of a retriever.

    Raises:
      PortingError: a file is missing or damaged.
    """
    read = _read(model)
    return Ported(read.architecture, read.names, read.variables, read.mapped, read.sources)


def port_tagger(model: Published, classes: tuple[str, ...], prompt: str = "") -> Ported:
    """Turn the files of CLIP or SigLIP into the Flax variables of a tagger.

    Args:
      model: its files.
      classes: the tagger's.
      prompt: what is said of a class, with `{}` for its name.

    Raises:
      PortingError: a file is missing or damaged, or the prompt has no place for a class.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise PortingError(f"classes: must be at least two, each once, not {listed(classes)}")
    prompt = prompt or HubTaggerArchitecture.prompt
    if prompt.count("{}") != 1:
        raise PortingError(f"prompt {quoted(prompt)}: must have {{}} once, where a class is named")
    read = _read(model)
    both = read.architecture
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
    return Ported(made, names, variables, read.mapped, read.sources)


class _Read(NamedTuple):
    """Both encoders."""

    architecture: HubRetrieverArchitecture
    names: Names
    variables: Params
    mapped: list[Mapped]
    sources: list[Source]


def _read(model: Published) -> _Read:
    kind = model.config["model_type"]
    architecture = HubRetrieverArchitecture(
        dict(model.config),
        mean=model.colour("image_mean", MEANS[kind]),
        std=model.colour("image_std", STDS[kind]),
    )
    names: Mapping[str, tuple[str, ...]] = {"tokenizer": (model.tokenizer(),)}
    architecture.reader(names)  # before the weights, which may be large, are read
    arrays, sources = model.weights()
    for name in clip_unused(arrays):
        del arrays[name]
    tree = architecture.shapes(names)
    variables, mapped = fit(arrays, clip_table(tree), tree, model.name)
    return _Read(architecture, names, variables, mapped, sources)


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
