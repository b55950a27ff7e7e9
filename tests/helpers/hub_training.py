"""Small captioners in the Hub's architectures, trained on scenes: victims that say true things.

From `tests`: `python -m helpers.hub_training KIND FOLDER --steps N`, where KIND is what
`config.json` calls the `model_type`: `vision-encoder-decoder` (ViT-GPT2) or `llava`.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tokenizers
from jax.tree_util import keystr

from jaxadv.data import scenes
from jaxadv.training.captioner import caption_data, negative_log_likelihood
from jaxadv.training.captioner_recipes import scene_accuracy
from jaxadv.training.fit import Phase, begin, fit, gradient_step
from jaxadv.training.parts import generator, passes
from jaxadv.victims import zoo
from jaxadv.victims.hub_captioners import HubCaptionerArchitecture
from jaxadv.victims.nets.caption_net import initial_variables
from jaxadv.victims.nets.inference import normalised

LONGEST = 6  # letters of a token, the blank before it among them: longer words are several
MOST_TOKENS = 22  # of a caption
PATCH = 16  # side in pixels; with 8 a step costs four times as much
ASKED = ("USER:", "ASSISTANT:")  # what LLaVA reads before and behind the picture, a token each
#: the most objects, up to what share of the steps, and after how many tokens captions are cut
CURRICULUM = ((1, 0.2, 10), (2, 0.4, MOST_TOKENS), (3, 1.01, MOST_TOKENS))
ALL = CURRICULUM[-1:]
MEAN, STD = (0.58, 0.56, 0.54), (0.11, 0.10, 0.13)  # of scenes


# ---------------------------------------------------------------- what is trained


@cache
def tokenizer(kind):
    """Train a tokenizer on scenes' captions; return its JSON and the id of its end."""
    captions = [c for i in range(1000) for c in scenes.describe(scenes.scene(0, i))]
    if kind == "llava":
        made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="always")
        made.decoder = tokenizers.decoders.Metaspace(prepend_scheme="always")
        special, alphabet, end = ["<unk>", "<s>", "</s>", *ASKED], [], "</s>"
    else:
        made = tokenizers.Tokenizer(tokenizers.models.BPE())
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = tokenizers.decoders.ByteLevel()
        special, end = ["<|endoftext|>"], "<|endoftext|>"
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1000,
        min_frequency=20,
        max_token_length=LONGEST,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(captions, trainer)
    return made.to_str(), made.token_to_id(end)


def patch_of(config):
    """Return the side of a patch, in pixels."""
    return config["vision_config" if "vision_config" in config else "encoder"]["patch_size"]


def config(kind, width, layers, words, end):
    """Write a `config.json` as it is published: sizes of the tower, then of the decoder."""
    tower = {
        "hidden_size": width,
        "image_size": scenes.SIDE,
        "intermediate_size": 2 * width,
        "num_attention_heads": width // 32,
        "num_hidden_layers": layers[0],
        "patch_size": PATCH,
    }
    if kind == "llava":
        text = {
            "model_type": "llama",
            "hidden_size": width,
            "intermediate_size": 2 * width,
            "num_hidden_layers": layers[1],
            "num_attention_heads": width // 32,
            "vocab_size": words,
        }
        tower |= {"model_type": "clip_vision_model"}
        return {
            "model_type": kind,
            "text_config": text,
            "vision_config": tower,
        }
    decoder = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "add_cross_attention": True,
        "layer_norm_epsilon": 1e-5,
        "n_embd": width,
        "n_head": width // 32,
        "n_layer": layers[1],
        "n_positions": MOST_TOKENS + 8,
        "vocab_size": words,
    }
    tower |= {"model_type": "vit", "hidden_act": "gelu", "layer_norm_eps": 1e-12}
    return {
        "model_type": kind,
        "decoder_start_token_id": end,
        "eos_token_id": end,
        "encoder": tower,
        "decoder": decoder,
    }


def architecture(kind, width=128, layers=(4, 2)):
    """Make a captioner's architecture and its names."""
    text, end = tokenizer(kind)
    words = tokenizers.Tokenizer.from_str(text).get_vocab_size()
    made = HubCaptionerArchitecture(
        config(kind, width, layers, words, end), MEAN, STD, end, max_length=MOST_TOKENS
    )
    names = {"tokenizer": (text,)}
    if kind == "llava":
        before, prompt = map(made.vocabulary(names).template, ("<s>" + ASKED[0], ASKED[1]))
        made = replace(made, before=tuple(before), prompt=tuple(prompt))
    return made, names


def fresh(made, key):
    """Draw a captioner's weights; where a patch is weighs as much as what it shows."""

    def place(path, leaf):
        return 20 * leaf if "positions" in keystr(path) and leaf.std() < 0.03 else leaf

    drawn = initial_variables(made.network(), made.image_shape, key)
    return jax.tree_util.tree_map_with_path(place, drawn)


# ---------------------------------------------------------------- what it is trained on


def drawn(count):
    """Generate scenes, pictures u8[n, 64, 64, 3] and `Scene`s; kept in the temporary folder.

    A sixth show one object, as training on captions begins with these.
    """
    kept = Path(tempfile.gettempdir()) / f"jaxadv-scenes-{count}.npz"
    most = [1 if index < count // 6 else 3 for index in range(count)]
    told = [scenes.scene(0, index, things=(1, m)) for index, m in enumerate(most)]
    if not kept.is_file():
        pictures = [
            np.uint8(np.round(255 * scenes.example(0, index, things=(1, m)).picture))
            for index, m in enumerate(most)
        ]
        part = kept.with_suffix(f".{os.getpid()}.npz")
        np.savez(part, pictures=np.stack(pictures))
        part.replace(kept)
    return np.load(kept)["pictures"], told


def batches(pictures, told, vocabulary, steps, batch, key, curriculum=CURRICULUM):
    """Draw captions with their pictures: of one object and cut short, of at most two, of all."""
    rng = generator(key)
    done = 0
    for most, share, length in curriculum:
        rows = [row for row, one in enumerate(told) if len(one.things) <= most]
        captions = [scenes.describe(told[row]) for row in rows]
        data = caption_data(pictures[rows], captions, vocabulary, length)
        drawn = passes(len(data.captions), batch, rng)
        while done < share * steps:
            some = next(drawn)
            yield data.inputs[data.owner[some]], data.captions[some]
            done += 1


def seen_in(told, cells):
    """Say what each cell of a grid shows: colour and shape i32[cells, cells, 2], 0 for none."""
    found = np.zeros((cells, cells, 2), np.int32)
    y, x = (np.mgrid[:cells, :cells] + 0.5) * scenes.SIDE / cells
    for one in told.things:
        here = np.maximum(abs(x - one.x), abs(y - one.y)) < one.radius
        found[here] = 1 + list(scenes.COLOURS).index(one.colour), 1 + scenes.SHAPES.index(one.shape)
    return found


# ---------------------------------------------------------------- how it is trained


def _adam(learning_rate, steps, warm_up):
    """Adam with clipping; a rate that rises first, as Transformers need, and decays to zero."""
    rate = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warm_up, steps)
    return optax.chain(optax.clip_by_global_norm(5.0), optax.adam(rate))


def fit_tower(made, variables, pictures, told, *, steps, batch, learning_rate, key, every=50):
    """Teach what sees, as published towers are taught before: what is in each patch.

    Returns an iterator over reports, with all variables.
    """
    net = made.network()

    def see(params, picture):
        if made.config["model_type"] == "llava":
            return net.apply(params, picture, method="see")
        whole = normalised(picture, made.mean, made.std)
        return net.apply(params, whole, method=lambda net, image: net.vision(image))[1:]

    cells = scenes.SIDE // patch_of(made.config)
    labels = np.stack([seen_in(one, cells).reshape(-1, 2) for one in told])
    kinds = (1 + len(scenes.COLOURS), 1 + len(scenes.SHAPES))
    width = jax.eval_shape(see, variables, pictures[0] / np.float32(255)).shape[-1]
    heads = [jnp.zeros((width, size)) for size in kinds]
    optimiser = _adam(learning_rate, steps, min(100, steps // 10))

    def loss(params, state, batch, key):
        pictures, labels = batch
        tokens = jax.vmap(see, in_axes=(None, 0))(params["net"], pictures.astype(jnp.float32) / 255)
        total = 0.0
        for kind, head in enumerate(params["heads"]):
            scores = jax.nn.log_softmax(tokens @ head)
            right = jnp.take_along_axis(scores, labels[..., kind, None], -1)[..., 0]
            # as many as show an object count as those that do not
            weight = jnp.where(labels[..., kind] > 0, 1.0, 0.1)
            total -= (weight * right).sum() / weight.sum()
        return total, {}

    def drawn():
        for rows in passes(len(pictures), batch, generator(key)):
            yield pictures[rows], labels[rows]

    return fit(
        {"all": begin(optimiser, {"net": variables, "heads": heads})},
        [Phase(gradient_step("all", optimiser, loss), drawn())],
        lambda state: state["all"].params["net"],
        steps=steps,
        key=key,
        report_every=every,
    )


def fit_captioner(victim, variables, drawn, *, steps, learning_rate, warm_up, key, every=50):
    """Maximise the likelihood of captions; any `Captioner`, by its protocol alone.

    Args:
      victim: the captioner.
      variables: its parameters.
      drawn: batches of pictures u8[b, H, W, 3] and tokens i32[b, T].
      steps, learning_rate, warm_up: the schedule of Adam.
      key: random key.
      every: steps between reports.
    """
    optimiser = _adam(learning_rate, steps, warm_up)

    def loss(params, state, batch, key):
        pictures, tokens = batch

        def one(picture, tokens):
            features = victim.encode(params, picture.astype(jnp.float32) / 255)
            return negative_log_likelihood(victim, params, features, tokens)

        return jax.vmap(one)(pictures, tokens).mean(), {}

    return fit(
        {"net": begin(optimiser, variables)},
        [Phase(gradient_step("net", optimiser, loss), drawn)],
        lambda state: state["net"].params,
        steps=steps,
        key=key,
        report_every=every,
    )


def train(
    kind, folder, *, tower_steps, steps, width=128, layers=(4, 2), batch=32, learning_rate=1.5e-3,
    scenes_drawn=18_000, held_out=500, begun=None, report=print,
):  # fmt: skip
    """Train a captioner and save it with its held-out accuracy.

    Args:
      kind: `vision-encoder-decoder` or `llava`.
      folder: the victim's.
      tower_steps: on what is in each patch, for the tower alone.
      steps: on captions.
      width, layers: of the tower and of the decoder.
      batch, learning_rate: of both; the tower's rate is twice as high.
      scenes_drawn: how many pictures there are.
      held_out: scenes that the accuracy is measured on.
      begun: folder of a captioner saved before; training continues from it with all scenes.
      report: takes lines about the progress.

    Returns:
      The record's measures, and the mean losses of captions' tokens along the way.
    """
    made, names = architecture(kind, width, layers)
    victim, key = made.functions(names), jax.random.key(1 if begun else 0)
    variables = zoo.load(str(begun)).params if begun else fresh(made, key)
    size = sum(x.size for x in jax.tree.leaves(variables))
    report(f"{kind}: {size:,} parameters, {victim.vocabulary.size} tokens")
    began = time.monotonic()
    pictures, told = drawn(scenes_drawn)
    order = ALL if begun else CURRICULUM
    some = batches(pictures, told, victim.vocabulary, steps, batch, key, order)
    job = () if not tower_steps else fit_tower(
        made, variables, pictures, told, steps=tower_steps, batch=batch,
        learning_rate=2 * learning_rate, key=key, every=100,
    )  # fmt: skip
    for now, taught in job:
        variables = taught
        report(f"tower, {now.step} steps, {time.monotonic() - began:.0f} s: {now.loss:.3f}")
    losses = []
    job = fit_captioner(
        victim, variables, some, steps=steps, learning_rate=learning_rate,
        warm_up=min(100, steps // 10), key=key,
    )  # fmt: skip
    for now, taught in job:
        variables = taught
        losses.append(now.loss)
        report(f"{now.step} steps, {time.monotonic() - began:.0f} s: loss {now.loss:.3f} a token")
    measures = {"held_out_scenes": scene_accuracy(victim, variables, held_out)._asdict()}
    zoo.save(
        Path(folder), made, names, variables,
        source=f"tests/helpers/hub_training.py {kind}", parameters=size, losses=losses,
        training={
            "tower_steps": tower_steps, "steps": steps, "batch": batch,
            "learning_rate": learning_rate, "begun": str(begun) if begun else None,
        },
        measures=measures,
    )  # fmt: skip
    report(json.dumps(measures))
    return measures, losses


def main():
    """Train by the command line's options."""
    options = argparse.ArgumentParser()
    options.add_argument("kind")
    options.add_argument("folder", type=Path)
    options.add_argument("--begun", type=Path)
    options.add_argument("--tower-steps", type=int, default=2500)
    options.add_argument("--steps", type=int, default=1500)
    options.add_argument("--width", type=int, default=128)
    options.add_argument("--layers", type=int, nargs=2, default=(4, 2))
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--learning-rate", type=float, default=1.5e-3)
    train(**vars(options.parse_args()), report=lambda line: print(line, flush=True))


if __name__ == "__main__":
    main()
