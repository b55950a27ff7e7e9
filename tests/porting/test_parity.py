"""A port beside outputs of the original network: the error, and one line where they differ."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.tiny import tiny_captioner, tiny_image, tiny_parameters
from helpers.tiny_hasher import HASHER, hasher_parameters
from helpers.tiny_tagger import TAGGER, tagger_parameters

from jaxadv.captions.captioner import log_probabilities
from jaxadv.formats.errors import PortingError
from jaxadv.porting.parity import parity_error
from jaxadv.porting.port import Ported, save
from jaxadv.victims.architectures import ClassifierArchitecture

CAPTIONER = tiny_captioner(words=4, max_length=5)
VICTIMS = {
    "captioner": (CAPTIONER, tiny_parameters(words=4, dtype="float32"), "log_probabilities"),
    "classifier": (TAGGER, tagger_parameters(dtype="float32"), "logits"),
    "hasher": (HASHER, hasher_parameters(dtype="float32"), "text_codes"),
}
EVERY_KIND = pytest.mark.parametrize("kind", VICTIMS)


def reference_of(kind):
    """Outputs one by one, as other code would give them."""
    victim, params, _ = VICTIMS[kind]
    images = np.stack([tiny_image(seed, dtype="float32") for seed in range(3)])
    if kind == "captioner":
        tokens = np.array([[1, 2, 0, 0, 0], [3, 1, 4, 2, 1], [2, 2, 2, 0, 0]], np.int32)
        found = [
            log_probabilities(victim, params, victim.encode(params, image), jnp.asarray(said))
            for image, said in zip(images, tokens, strict=True)
        ]
        return {"images": images, "tokens": tokens, "log_probabilities": np.stack(found)}
    if kind == "classifier":
        return {"images": images, "logits": np.stack([victim.logits(params, i) for i in images])}
    tags = np.eye(2, len(victim.tags), dtype=np.float32)
    return {
        "images": images,
        "image_codes": np.stack([victim.image_code(params, i) for i in images]),
        "tags": tags,
        "text_codes": np.stack([victim.text_code(params, t) for t in tags]),
    }


def written(path, arrays):
    np.savez(path, **arrays)
    return path


@EVERY_KIND
def test_error_is_the_largest_difference(kind, tmp_path):
    victim, params, output = VICTIMS[kind]
    arrays = reference_of(kind)
    assert parity_error(victim, params, written(tmp_path / "same.npz", arrays)) < 1e-5
    arrays[output].flat[-1] += 5e-5
    error = parity_error(victim, params, written(tmp_path / "near.npz", arrays))
    assert error == pytest.approx(5e-5, rel=0.2)


@EVERY_KIND
@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            lambda a, out: a | {out: a[out] + 0.01},
            "differ by up to 0.01, where rounding is at most",
        ),
        (lambda a, out: a | {out: a[out] * np.nan}, "{output} holds NaN or infinite"),
        (lambda a, out: {k: v[:0] for k, v in a.items()}, "nothing to compare with"),
        (lambda a, out: a | {"images": a["images"][:0]}, "nothing to compare with"),
        (lambda a, out: a | {"images": a["images"][:2]}, "not as many of each"),
        (lambda a, out: a | {"images": a["images"] * 255}, r"must be in \[0, 1\]"),
        (lambda a, out: a | {"images": a["images"] > 0.5}, "floating-point, not bool"),
        (lambda a, out: a | {out: a[out].astype(int)}, "{output} must be floating-point"),
        (lambda a, out: a | {out: np.float32(1)}, "nothing to compare with"),
        (lambda a, out: {k: v for k, v in a.items() if k != out}, "lacks {output}"),
        (lambda a, out: a | {out: a[out][..., :-1]}, "{output} of shape .*; the victim's are"),
        (lambda a, out: a | {"images": a["images"][:, :-1]}, "the victim does not take images"),
    ],
    ids=[
        *("other", "nan", "none", "no images", "fewer", "bytes", "bool", "whole", "number"),
        *("missing", "shape", "inputs"),
    ],
)
def test_what_differs_is_named(kind, change, line, tmp_path):
    victim, params, output = VICTIMS[kind]
    path = written(tmp_path / "reference.npz", change(reference_of(kind), output))
    with pytest.raises(PortingError, match=line.format(output=output)) as caught:
        parity_error(victim, params, path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


@pytest.mark.parametrize("token", [-1, 99])
def test_tokens_must_be_words(token, tmp_path):
    victim, params, _ = VICTIMS["captioner"]
    arrays = reference_of("captioner")
    arrays["tokens"][0, 0] = token
    with pytest.raises(PortingError, match="tokens must be numbers of words, from 0 to 4"):
        parity_error(victim, params, written(tmp_path / "reference.npz", arrays))
    arrays["tokens"] = arrays["tokens"].astype(np.float32)
    with pytest.raises(PortingError, match="tokens must be whole numbers"):
        parity_error(victim, params, written(tmp_path / "reference.npz", arrays))


def test_the_record_says_the_error_and_a_failure_leaves_nothing(tmp_path):
    """Nothing is written of a victim that is not the original network."""
    made = ClassifierArchitecture("resnet20-cifar", 32)
    names = {"classes": ("a", "b")}
    functions = made.functions(names)
    variables = made.network(2).init(jax.random.key(0), jnp.zeros(made.image_shape))
    ported = Ported(made, names, variables, [], [])
    image = np.full((1, *made.image_shape), 0.3, np.float32)
    logits = np.asarray(jax.jit(functions.logits)(variables, image[0]))[None]
    good = written(tmp_path / "good.npz", {"images": image, "logits": logits})
    save(tmp_path / "mine", ported, reference=good)
    record = json.loads((tmp_path / "mine" / "record.json").read_text())
    assert 0 <= record["parity_error"] < 1e-4
    bad = written(tmp_path / "bad.npz", {"images": image, "logits": logits + 1})
    with pytest.raises(PortingError, match="differ by up to 1"):
        save(tmp_path / "other", ported, reference=bad)
    assert not (tmp_path / "other").exists()
