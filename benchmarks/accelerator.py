"""What an accelerator is for: batches that fill it, and its speed over PyTorch's best.

    python -m benchmarks.accelerator --minutes 12 --json docs/results/records/accelerator.json

measures by itself, the most important first, and writes each figure as it comes. What is not
reached in the time is named at the end. `jaxadv bench throughput accelerator` has the short form.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks import steps, streaming
from benchmarks.setting import (
    CONTEXT,
    Setting,
    Speaker,
    hasher,
    hub_speaker,
    sentences,
    speaker,
    tagger,
)
from benchmarks.timing import PASSES, Figure, bare_steps, compare, interleaved
from jaxadv.captions.anchored import anchored
from jaxadv.captions.bank import with_bank
from jaxadv.captions.gem import METHOD, gem
from jaxadv.captions.marginal import marginal
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import PartialCaption
from jaxadv.core.attack import Attack, Params, Target
from jaxadv.core.memory import largest_batch
from jaxadv.core.method import defaults
from jaxadv.core.precision import Arithmetic
from jaxadv.core.run import run
from jaxadv.formats.files import write_text
from jaxadv.hashing.cmla import cmla
from jaxadv.labels.tkmia import tkmia

MOST = {"cpu": 8}  # pictures at once; elsewhere what fits, and at most
_MOST_ELSEWHERE = 1024
ROUNDS = defaults(METHOD)["iterations"]


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
    blocks = pytorch.BLOCKS[setting.backbone]
    net = pytorch.resnet(made.params, blocks, folded=True, low=True, device=device)
    theirs = pytorch.bare_steps(net, images, setting.steps, compiled=True, device=device)
    bare = bare_steps(_scores(made.functions), setting.steps)
    sides = {"jaxadv": lambda: bare(made.params, images), "PyTorch, compiled bfloat16": theirs}
    what = f"forward and input gradient, {setting.backbone}, batch {setting.batch}"
    yield from compare(what, sides, each=setting.steps, aim=1.0)


def gem_rate(setting: Setting, rounds: int = ROUNDS) -> Figure:
    """Images a second of GEM on complete captions."""
    made, target = speaker(setting, "att2in2"), sentences(setting, 0)
    rate, seconds = _rate(setting, gem(made.functions), made.params, target, rounds)
    what = f"GEM, complete captions, batch {setting.batch}, {rounds} rounds: images a second"
    return Figure(what, "jaxadv", "a second", rate, True, (seconds,) * 2, 20)


def _scores(victim: Any) -> Callable[[Params, Array], Array]:
    return lambda params, image: jnp.sum(victim.scores(params, image) ** 2)


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


class Sizes(NamedTuple):
    """How large the plan's victims and batches are.

    Attributes:
      setting: of all but what follows.
      transformer: the other backbone whose pass is measured.
      wide: side of TkMIA's pictures.
      batches: pictures at once, the smallest first; what does not fit is left out.
      rounds: steps of an attack on captions.
      bank: pictures of the anchored attack's bank.
    """

    setting: Setting = Setting(steps=20)
    transformer: str = "vit-b16"
    wide: int = 448
    batches: tuple[int, ...] = (1, 8, 32, 128, 256)
    rounds: int = ROUNDS
    bank: int = 256


class Measured(NamedTuple):
    """A figure of the plan.

    Attributes:
      what: in words.
      arithmetic: of the victim.
      batch: pictures at once.
      value, unit: the figure.
      aim: what it should be: at least, or where `most` at most; None where nothing is aimed at.
      compiling: seconds of the first call beyond another one.
      most: whether less is better.
    """

    what: str
    arithmetic: str
    batch: int
    value: float
    unit: str
    aim: float | None = None
    compiling: float = 0.0
    most: bool = False

    def row(self) -> tuple[str, ...]:
        """Return what a table of them shows."""
        aim = "" if self.aim is None else f"{'<=' if self.most else '>='} {self.aim:g}"
        value = f"{self.value:,.3g} {self.unit}".strip()
        return (
            *(self.what, self.arithmetic, str(self.batch), value, aim),
            f"{self.compiling:.1f}" if self.compiling else "",
        )


COLUMNS = ("what", "arithmetic", "batch", "measured", "aim", "compiled in, s")
Part = Callable[[Sizes], Iterator[Measured]]


def _timed(call: Callable[[], Any], times: int = PASSES) -> tuple[float, float]:
    """Return the median seconds of a call, and how much longer the first one took."""
    taken = []
    for _ in range(times + 1):
        began = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - began)
    usual = statistics.median(taken[1:])
    return usual, taken[0] - usual


def _by_batch(
    sizes: Sizes, setting: Setting, measured: Callable[[Setting], Measured]
) -> Iterator[Measured]:
    """Measure at each batch, until one does not fit the device."""
    for batch in sizes.batches:
        try:
            yield measured(setting._replace(batch=batch))
        except jax.errors.JaxRuntimeError as problem:
            if "RESOURCE_EXHAUSTED" not in str(problem):
                raise
            return


def passes(sizes: Sizes) -> Iterator[Measured]:
    """A victim's forward pass and input gradient by batch and arithmetic, over the peak."""
    arithmetics: tuple[Arithmetic, ...] = ("bfloat16", "tf32", "float32")
    for backbone, arithmetic in product((sizes.setting.backbone, sizes.transformer), arithmetics):
        peak = _peak(arithmetic)

        def measured(setting: Setting, peak: float = peak) -> Measured:
            made, images = tagger(setting), setting.pictures()
            loss = _scores(made.functions)
            bare = bare_steps(loss, setting.steps)
            seconds, compiling = _timed(lambda: bare(made.params, images))
            cost: Any = bare_steps(loss, 1).lower(made.params, images).compile().cost_analysis()
            share = cost["flops"] * setting.steps / seconds / peak
            rate = setting.batch * setting.steps / seconds
            what = f"pass of {setting.backbone}, {share:.2f} of the peak"
            return _figure(what, setting, rate, "pictures a second", compiling=compiling)

        here = sizes.setting._replace(backbone=backbone, arithmetic=arithmetic)
        yield from _by_batch(sizes, here, measured)


def _figure(what: str, setting: Setting, value: float, unit: str, **more: Any) -> Measured:
    arithmetic = setting.arithmetic or "as the device has it"
    return Measured(what, arithmetic, setting.batch, value, unit, **more)


def _peak(arithmetic: str) -> float:
    """Return the floating-point operations a second of a large product of matrices."""
    side = 1024 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((side, side), jnp.bfloat16 if arithmetic == "bfloat16" else jnp.float32)
    precision = "float32" if arithmetic == "float32" else "tensorfloat32"
    multiplied = jax.jit(lambda a: jnp.matmul(a, a, precision=precision))
    seconds, _ = _timed(lambda: multiplied(matrix))
    return 2 * side**3 / seconds


def passes_over_pytorch(sizes: Sizes) -> Iterator[Measured]:
    """The pass over PyTorch's compiled channels-last one in bfloat16, in the same run."""
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    for batch in sizes.batches:
        setting = sizes.setting._replace(arithmetic="bfloat16", batch=batch)
        for figure in over_compiled(setting, device):
            unit = "of PyTorch's seconds"
            yield _figure(figure.what, setting, figure.ratio, unit, aim=1.0, most=True)


def _attacks(
    sizes: Sizes, name: str, made: Speaker, attack: Attack, latent: int, aim: float | None = None
) -> Iterator[Measured]:
    """Attacks a second on a captioner by batch."""
    words = made.functions.vocabulary.size

    def measured(setting: Setting) -> Measured:
        images, targets = setting.pictures(), sentences(setting, latent, words)

        def attacked() -> Any:
            result = run(attack, made.params, images, targets, iterations=sizes.rounds)
            return result.final.image

        seconds, compiling = _timed(attacked, 2)
        rate = setting.batch / seconds
        return _figure(name, setting, rate, "attacks a second", aim=aim, compiling=compiling)

    yield from _by_batch(sizes, sizes.setting, measured)


def _image_steps(
    sizes: Sizes,
    name: str,
    setting: Setting,
    made: Callable[[Setting], tuple[Attack, Params, Target]],
    aim: float | None = None,
) -> Iterator[Measured]:
    """Image-steps a second by batch."""

    def measured(setting: Setting) -> Measured:
        (attack, params, targets), images = made(setting), setting.pictures()

        def attacked() -> Any:
            return run(attack, params, images, targets, iterations=setting.steps).final.image

        seconds, compiling = _timed(attacked)
        rate = setting.batch * setting.steps / seconds
        return _figure(name, setting, rate, "image-steps a second", aim=aim, compiling=compiling)

    yield from _by_batch(sizes, setting, measured)


def gem_by_batch(sizes: Sizes) -> Iterator[Measured]:
    """GEM on complete captions and with three latent words, Att2in2."""
    made = speaker(sizes.setting, "att2in2")
    for latent, aim in ((0, 40.0), (3, None)):
        name = f"GEM, {latent} latent words, {sizes.rounds} rounds"
        yield from _attacks(sizes, name, made, gem(made.functions), latent, aim)


def tkmia_by_batch(sizes: Sizes) -> Iterator[Measured]:
    """TkMIA on larger pictures."""

    def made(setting: Setting) -> tuple[Attack, Params, Target]:
        tags = tagger(setting)
        return tkmia(tags.functions, stop_at_success=False), tags.params, tags.targets

    wide = sizes.setting._replace(side=sizes.wide)
    yield from _image_steps(sizes, f"TkMIA at {sizes.wide} pixels", wide, made, 1000)


def cmla_by_batch(sizes: Sizes) -> Iterator[Measured]:
    """CMLA with a large context."""

    def made(setting: Setting) -> tuple[Attack, Params, Target]:
        codes = hasher(setting)
        return cmla(codes.functions), codes.known, codes.targets

    yield from _image_steps(sizes, f"CMLA, {CONTEXT:,} codes", sizes.setting, made)


def steps_over_passes(sizes: Sizes) -> Iterator[Measured]:
    """An attack's step over its victim's bare pass, at the middle batch."""
    setting = _middle(sizes)
    for part in (steps.label_steps, steps.caption_steps, steps.hash_steps):
        for figure in part(setting):
            what = f"{figure.of} over {figure.over}"
            yield _figure(what, setting, figure.ratio, "", aim=figure.aim, most=True)


def _middle(sizes: Sizes) -> Setting:
    return sizes.setting._replace(batch=sizes.batches[len(sizes.batches) // 2])


def other_captions(sizes: Sizes) -> Iterator[Measured]:
    """Latent SSVM, Show-and-Fool and the anchored attack, Att2in2."""
    made = speaker(sizes.setting, "att2in2")
    yield from _attacks(sizes, "latent SSVM, complete captions", made, ssvm(made.functions), 0)
    yield from _attacks(sizes, "Show-and-Fool", made, show_and_fool(made.functions), 0)
    pictures = sizes.setting._replace(batch=sizes.bank).pictures()
    known = made._replace(params=with_bank(made.functions, made.params, pictures))
    attack = anchored(made.functions, iterations=sizes.rounds)
    yield from _attacks(sizes, f"anchored, a bank of {sizes.bank}", known, attack, 0)


def hub_captions(sizes: Sizes) -> Iterator[Measured]:
    """GEM on ViT-GPT2."""
    made = hub_speaker(sizes.setting)
    yield from _attacks(sizes, "GEM on ViT-GPT2, complete captions", made, gem(made.functions), 0)


def profile(sizes: Sizes) -> Iterator[Measured]:
    """What a GEM step of three latent words spends its time on, as shares of the step."""
    setting = _middle(sizes)
    made, images = speaker(setting, "att2in2"), setting.pictures()
    victim, params, targets = made.functions, made.params, sentences(setting, 3)
    features = jax.jit(jax.vmap(victim.encode, in_axes=(None, 0)))(params, images)
    attack = gem(victim)

    def decoded(params: Params, features: Any, target: PartialCaption) -> Array:
        return marginal(victim, params, features, target).bound

    e_step = jax.jit(jax.vmap(decoded, in_axes=(None, 0, 0)))
    both = jax.jit(jax.vmap(jax.value_and_grad(decoded, argnums=1), in_axes=(None, 0, 0)))
    bare = bare_steps(steps.encoder(victim), setting.steps)
    looped, _ = _timed(
        lambda: run(attack, params, images, targets, iterations=setting.steps).final.image
    )
    passed, _ = _timed(lambda: bare(params, images))
    shares = {
        "encoder and its input gradient": passed / setting.steps,
        "decoder and its gradient": _timed(lambda: both(params, features, targets))[0],
        "of this the E step": _timed(lambda: e_step(params, features, targets))[0],
    }
    for what, seconds in shares.items():
        share = seconds * setting.steps / looped
        yield _figure(f"GEM, 3 latent words: {what}", setting, share, "of a step")


def memory(sizes: Sizes) -> Iterator[Measured]:
    """What `--batch auto` chooses, and what it takes."""
    setting = sizes.setting._replace(batch=1)
    wide = setting._replace(side=sizes.wide)
    tags, says = tagger(wide), speaker(setting, "att2in2")
    cases: tuple[tuple[str, Setting, Attack, Params, Any], ...] = (
        ("TkMIA", wide, tkmia(tags.functions), tags.params, tags.targets),
        ("GEM, 3 latent words", setting, gem(says.functions), says.params, sentences(setting, 3)),
    )
    most = MOST.get(jax.default_backend(), _MOST_ELSEWHERE)
    for name, here, attack, params, targets in cases:
        image, target = here.pictures()[0], jax.tree.map(lambda x: x[0], targets)
        fit = largest_batch(attack, params, image, target, iterations=here.steps, most=most)
        what = f"--batch auto, {name} at {here.side} pixels, {fit.free / 2**30:.0f} GiB free"
        yield _figure(what, here._replace(batch=fit.batch), fit.needed / 2**30, "GiB")


def streamed(sizes: Sizes) -> Iterator[Measured]:
    """Continuous batching over `run`, on the shipped victims of scenes."""
    del sizes
    for figure in (*streaming.of_labels(), *streaming.of_captions()):
        yield Measured(f"{figure.what}: {figure.of} over {figure.over}", "", 0, figure.ratio, "")


PLAN: dict[str, Part] = {
    "passes": passes,
    "passes over PyTorch": passes_over_pytorch,
    "GEM": gem_by_batch,
    "TkMIA": tkmia_by_batch,
    "steps over passes": steps_over_passes,
    "profile": profile,
    "memory": memory,
    "other attacks on captions": other_captions,
    "ViT-GPT2": hub_captions,
    "CMLA": cmla_by_batch,
    "stream": streamed,
}


def carry_out(sizes: Sizes, until: float, parts: dict[str, Part]) -> Iterator[Measured | str]:
    """Yield the plan's figures until a time; then the names of the parts that are left.

    Args:
      sizes: of victims and batches.
      until: of `time.monotonic`.
      parts: in their order.
    """
    for name, part in parts.items():
        for figure in part(sizes):
            if time.monotonic() > until:
                break
            yield figure
        if time.monotonic() > until:
            yield name


def main() -> None:
    """Print the plan's figures as they come, and write them as a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--json", type=Path, help="file for a record of docs/results")
    parser.add_argument("--parts", nargs="+", choices=PLAN, default=list(PLAN))
    given = parser.parse_args()
    until = time.monotonic() + 60 * given.minutes
    rows: list[tuple[str, ...]] = []
    left: list[str] = []
    for found in carry_out(Sizes(), until, {name: PLAN[name] for name in given.parts}):
        if isinstance(found, str):
            left.append(found)
            continue
        rows.append(found.row())
        print(" | ".join(found.row()), flush=True)
        if given.json is not None:
            _write(given.json, rows)
    if left:
        print(f"not measured, or not to the end, in {given.minutes:g} minutes: {', '.join(left)}")


def _write(path: Path, rows: list[tuple[str, ...]]) -> None:
    from jaxadv.experiments.environment import machine, versions

    record = {
        "tables": [{"title": "", "columns": COLUMNS, "rows": rows, "notes": ()}],
        "command": "python -m benchmarks.accelerator",
        "measured": time.strftime("%Y-%m-%d"),
        "machine": f"{machine()}, {os.cpu_count()} CPU cores",
        "versions": versions(),
    }
    write_text(path, json.dumps(record, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    main()
