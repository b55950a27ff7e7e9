"""Images a second over one-image-at-a-time PyTorch loops of the same attacks."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax

from benchmarks import pytorch
from benchmarks.setting import Setting, hashable, hasher, sentences, speaker, tagger
from benchmarks.timing import Figure, compare
from jaxadv.captions.gem import gem
from jaxadv.core.attack import Attack, Params, Target
from jaxadv.core.run import run
from jaxadv.hashing.cmla import cmla
from jaxadv.labels.tkmia import tkmia


def over_pytorch(setting: Setting) -> Iterator[Figure]:
    """TkMIA, GEM on complete captions and CMLA, over what a script of the papers' kind does.

    There the victim's weights are not frozen, and pictures come one by one, so that one is timed.
    Theirs has nothing but steps; of ours folding, judging and the rest of `run` are timed, too.
    """
    images, steps = setting.pictures(), setting.steps

    def net(params: Any) -> pytorch.Net:
        kind = hashable(setting.backbone) if "features" in params["params"] else setting.backbone
        return pytorch.resnet(_backbone(params), pytorch.BLOCKS[kind], frozen=False)

    def timed(
        name: str,
        attack: Attack,
        params: Params,
        targets: Target,
        theirs: Mapping[str, tuple[Callable[[int], Any], int]],
        aim: float | None = None,
    ) -> list[Figure]:
        """Time our `steps` steps of the batch over each of theirs, and how many they are."""

        def ours() -> Any:
            return jax.block_until_ready(run(attack, params, images, targets, iterations=steps))

        sides = {"jaxadv": ours} | {side: partial(do, n) for side, (do, n) in theirs.items()}
        each = {"jaxadv": setting.batch * steps} | {side: n for side, (_, n) in theirs.items()}
        what = f"{name}, image-steps a second, {steps} steps"
        return compare(what, sides, each=each, aim=aim, faster=True)

    made = tagger(setting)
    label = made.targets
    first = (images[:1], label.relevant[:1], label.specified[:1])
    yield from timed(
        "TkMIA",
        tkmia(made.functions, inner="gradient", stop_at_success=False),
        made.params,
        label,
        {"PyTorch, one image": (partial(pytorch.tkmia, net(made.params), *first, 3), steps)},
        aim=2.5,
    )

    said = speaker(setting, "show-tell")
    target = sentences(setting, 0)
    decoder = said.params["params"]["decoder"]
    once = partial(pytorch.gem, net(said.params), decoder, images[:1], target.tokens[:1])
    # the released loop runs the backbone twice for almost every word: few of its steps are enough
    few = -(-steps // 10)
    yield from timed(
        "GEM, complete captions",
        gem(said.functions),
        said.params,
        target,
        {
            "PyTorch as released, one image": (partial(once, released=True), few),
            "PyTorch, one image, encoded once a step": (partial(once, released=False), steps),
        },
        aim=3,
    )

    hashed = hasher(setting)
    known = hashed.known
    theirs = partial(
        pytorch.cmla,
        net(known.params),
        known.params["params"]["image_hash"],
        images[:1],
        known.image_codes,
        known.text_codes,
        hashed.targets.similar[:1],
    )
    yield from timed(
        f"CMLA over {hashable(setting.backbone)}",
        cmla(hashed.functions),
        known,
        hashed.targets,
        {"PyTorch, one image": (theirs, steps)},
    )


def _backbone(params: Any) -> Any:
    """Weights of a backbone alone, wherever its victim keeps them."""
    found = {}
    for kind in ("params", "batch_stats"):
        tree = params[kind]
        found[kind] = {"backbone": tree.get("features", tree)["backbone"]}
    if "fc" in params["params"]:
        found["params"]["fc"] = params["params"]["fc"]
    return found
