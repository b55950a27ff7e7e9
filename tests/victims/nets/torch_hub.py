"""Networks of `transformers` with every parameter at random, and the files that they save."""

import re

import numpy as np
import pytest

from jaxadv.porting.readers import read

torch = pytest.importorskip("torch", reason="parity is checked against PyTorch (extra `parity`)")
transformers = pytest.importorskip("transformers", reason="compares with transformers")

transformers.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()

#: by `model_type`
CLASSES = {
    "llava": transformers.LlavaForConditionalGeneration,
    "idefics3": transformers.Idefics3ForConditionalGeneration,
    "clip": transformers.CLIPModel,
    "siglip": transformers.SiglipModel,
}


def made(config):
    """The network of a `config.json`."""
    kind = CLASSES[config["model_type"]]
    return kind(kind.config_class.from_dict(config)).eval()


def random_network(config, seed=0):
    """A network with all parameters such that activations stay of a moderate size."""
    net = made(config)
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if re.search(r"norm\w*\.weight$", name):
                fill = rng.uniform(0.5, 1.5, value.shape)
            elif "embed_tokens" in name:  # small, or a word whose score is its own says itself
                fill = rng.normal(0, 0.2, value.shape)
            elif value.ndim > 1 and "embed" not in name:
                fill = rng.normal(0, value[0].numel() ** -0.5, value.shape)
            else:
                fill = rng.normal(0, 0.5, value.shape)
            value.copy_(torch.from_numpy(np.asarray(fill)))
    return net


def saved(net, folder):
    """What the network saves, as porting reads it."""
    net.save_pretrained(folder)
    return read(folder / "model.safetensors")


def published_arrays(config):
    """Arrays of the shapes that a published network's are, which take no memory."""
    with torch.device("meta"):
        state = made(config).state_dict()
    return {name: np.broadcast_to(np.int8(0), tuple(x.shape)) for name, x in state.items()}


def as_pixels(image, mean, std):
    """A picture [H, W, 3] in [0, 1] as a network's input [1, 3, H, W], and its leaf."""
    leaf = torch.tensor(image, requires_grad=True)
    mean, std = (torch.tensor(x, dtype=leaf.dtype) for x in (mean, std))
    return ((leaf - mean) / std).permute(2, 0, 1)[None], leaf
