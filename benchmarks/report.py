"""All of the bench by parts, and what it is measured on in words."""

import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import accelerator, passes, steps, streaming
from benchmarks.setting import Setting, tagger
from benchmarks.timing import Figure, attack_steps, bare_steps, first_states, interleaved
from jaxadv.labels.tkmia import tkmia

Part = Callable[[Setting], Iterator[Figure]]


def over_pytorch(setting: Setting) -> Iterator[Figure]:
    """Images a second over one-image PyTorch loops; nothing where torch is absent."""
    if find_spec("torch") and setting.backbone in ("resnet50", "resnet101"):
        from benchmarks.loops import over_pytorch

        yield from over_pytorch(setting)


def memory(setting: Setting) -> Iterator[Figure]:
    """Memory of a pass by batch, over that of a batch of one."""
    found = passes.peak_memory(setting)
    one = found[1]
    for batch, size in found.items():
        what = f"memory of a pass, {size / 2**20:,.0f} MiB"
        yield Figure(what, f"batch {batch}", "batch 1", size / one, False, None, None)


def utilisation(setting: Setting) -> Iterator[Figure]:
    """Floating-point operations a second of a pass, over those of a large product of matrices."""
    made, images = tagger(setting), setting.pictures()

    def loss(params: Any, image: Any) -> Any:
        return jnp.sum(made.functions.scores(params, image) ** 2)

    side = 2048 if jax.default_backend() == "cpu" else 8192
    low = setting.arithmetic == "bfloat16"
    matrix = jnp.ones((side, side), jnp.bfloat16 if low else jnp.float32)
    product = jax.jit(lambda a: a @ a)
    cost: Any = bare_steps(loss, 1).lower(made.params, images).compile().cost_analysis()
    looped = bare_steps(loss, setting.steps)
    sides = {"passes": lambda: looped(made.params, images), "product": lambda: product(matrix)}
    seconds = {name: min(taken) for name, taken in interleaved(sides).items()}
    achieved = setting.steps * cost["flops"] / seconds["passes"]
    peak = 2 * side**3 / seconds["product"]
    what = f"GFLOP/s of a pass, {achieved / 1e9:,.0f} of {peak / 1e9:,.0f}"
    yield Figure(what, "pass", "matrix product", achieved / peak, True, None, None)


def compilation(setting: Setting) -> Iterator[Figure]:
    """Compile TkMIA's steps with an empty persistent cache, and again with what it kept."""
    from jax.experimental.compilation_cache import compilation_cache

    made, images = tagger(setting), setting.pictures()
    attack = tkmia(made.functions)
    states = first_states(attack, made.params, images, made.targets)
    before = {
        name: getattr(jax.config, name)
        for name in ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    }

    def seconds() -> float:
        jax.clear_caches()
        compilation_cache.reset_cache()
        stepped = attack_steps(attack, images, made.targets, setting.steps)
        began = time.perf_counter()
        stepped.lower(made.params, states).compile()
        return time.perf_counter() - began

    with tempfile.TemporaryDirectory() as folder:
        try:
            jax.config.update("jax_compilation_cache_dir", folder)
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            cold, warm = seconds(), seconds()
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            compilation_cache.reset_cache()
    ratio = warm / cold
    yield Figure("compiling TkMIA", "cache warm", "cold", ratio, False, (warm, cold), 0.5)


def stream_over_run(setting: Setting) -> Iterator[Figure]:
    """Attacks a second of `stream` over `run`, on the shipped victims of scenes."""
    del setting
    yield from streaming.of_labels()
    yield from streaming.of_captions()


PARTS: dict[str, Part] = {
    "labels": steps.label_steps,
    "captions": steps.caption_steps,
    "hub": steps.hub_steps,
    "hashing": steps.hash_steps,
    "passes": passes.victim_passes,
    "pytorch": over_pytorch,
    "utilisation": utilisation,
    "memory": memory,
    "compilation": compilation,
    "throughput": accelerator.throughput,
    "accelerator": accelerator.on_accelerator,
    "stream": stream_over_run,
}


def machine() -> str:
    """Name the devices and the versions that a figure was measured on."""
    devices = jax.devices()
    return f"{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}"
