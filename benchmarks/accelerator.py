"""What an accelerator is for: batches that fill it, and its speed over PyTorch's best."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.setting import Setting, sentences, speaker, tagger
from benchmarks.timing import Figure, bare_steps, compare, interleaved
from jaxadv.captions.gem import METHOD, gem
from jaxadv.core.attack import Attack, Params, Target
from jaxadv.core.memory import largest_batch
from jaxadv.core.method import defaults
from jaxadv.core.run import run
from jaxadv.labels.tkmia import tkmia

MOST = {"cpu": 8}  # pictures at once; elsewhere what fits, and at most
_MOST_ELSEWHERE = 1024


def throughput(setting: Setting) -> Iterator[Figure]:
    """Image-steps a second of TkMIA by batch, up to what fits, over those of one picture."""
    batch, most = 1, largest(setting)
    alone = None
    while batch <= most:
        rate, seconds = _tkmia_rate(setting._replace(batch=batch))
        alone = alone or rate
        what = f"TkMIA, {rate:,.3g} image-steps a second"
        yield Figure(what, f"batch {batch}", "batch 1", rate / alone, True, (seconds,) * 2, None)
        batch *= 2


def on_accelerator(setting: Setting) -> Iterator[Figure]:
    """The issue's figures of a GPU; nothing where there is only a CPU."""
    if jax.default_backend() == "cpu":
        return
    most = largest(setting)
    setting = setting._replace(batch=1 << (most.bit_length() - 1))
    yield from over_compiled(setting)
    yield gem_rate(setting)
    wide = setting._replace(side=448)
    wide = wide._replace(batch=1 << (largest(wide).bit_length() - 1))
    rate, seconds = _tkmia_rate(wide)
    what = f"TkMIA at 448 pixels, batch {wide.batch}: image-steps a second"
    yield Figure(what, "jaxadv", "a second", rate, True, (seconds,) * 2, 1000)


def largest(setting: Setting) -> int:
    """Return how many pictures TkMIA can attack at once."""
    made = tagger(setting._replace(batch=1))
    image, target = setting.pictures()[0], jax.tree.map(lambda x: x[0], made.targets)
    most = MOST.get(jax.default_backend(), _MOST_ELSEWHERE)
    attack = tkmia(made.functions, stop_at_success=False)
    return largest_batch(
        attack, made.params, image, target, iterations=setting.steps, most=most
    ).batch


def over_compiled(setting: Setting, device: str = "cuda") -> Iterator[Figure]:
    """A victim's pass over PyTorch's compiled one in bfloat16, channels last."""
    if not find_spec("torch"):
        return
    from benchmarks import pytorch

    made, images = tagger(setting), setting.pictures()

    def loss(params: Params, image: Array) -> Array:
        return jnp.sum(made.functions.scores(params, image) ** 2)

    bare = bare_steps(loss, setting.steps)
    blocks = pytorch.BLOCKS[setting.backbone]
    net = pytorch.resnet(made.params, blocks, folded=True, low=True, device=device)
    theirs = pytorch.bare_steps(net, images, setting.steps, compiled=True, device=device)
    sides = {"jaxadv": lambda: bare(made.params, images), "PyTorch, compiled bfloat16": theirs}
    what = f"forward and input gradient, {setting.backbone}, batch {setting.batch}"
    yield from compare(what, sides, each=setting.steps, aim=1.0)


def gem_rate(setting: Setting, rounds: int = defaults(METHOD)["iterations"]) -> Figure:
    """Images a second of GEM on complete captions."""
    made, target = speaker(setting, "att2in2"), sentences(setting, 0)
    rate, seconds = _rate(setting, gem(made.functions), made.params, target, rounds)
    what = f"GEM, complete captions, batch {setting.batch}, {rounds} rounds: images a second"
    return Figure(what, "jaxadv", "a second", rate, True, (seconds,) * 2, 20)


def _tkmia_rate(setting: Setting) -> tuple[float, float]:
    """Image-steps a second, and seconds an image-step."""
    made = tagger(setting)
    attack = tkmia(made.functions, stop_at_success=False)
    rate, seconds = _rate(setting, attack, made.params, made.targets, setting.steps)
    return rate * setting.steps, seconds / setting.steps


def _rate(
    setting: Setting, attack: Attack, params: Params, target: Target, iterations: int
) -> tuple[float, float]:
    """Images a second of `run`, and seconds an image."""
    images = setting.pictures()

    def attacked() -> Any:
        return run(attack, params, images, target, iterations=iterations).final.image

    seconds = min(interleaved({"run": attacked})["run"]) / setting.batch
    return 1 / seconds, seconds
