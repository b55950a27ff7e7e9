"""Images a second over one-image-at-a-time PyTorch loops of the same attacks."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax

from jaxadv.attacks.attack import Attack, Params, Target
from jaxadv.attacks.cmla import cmla
from jaxadv.attacks.drive import run
from jaxadv.attacks.gem import gem
from jaxadv.attacks.tkmia import tkmia
from jaxadv.bench import pytorch
from jaxadv.bench.setting import Setting, hashable, hasher, sentences, speaker, tagger
from jaxadv.bench.timing import Figure, compare


def over_pytorch(setting: Setting) -> Iterator[Figure]:
    """TkMIA, GEM on complete captions and CMLA, over what a script of the papers' kind does.

    There the victim's weights are not frozen, and pictures come one by one.
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
        theirs: Callable[[], Any],
        aim: float | None,
    ) -> list[Figure]:
        def ours() -> Any:
            return jax.block_until_ready(run(attack, params, images, targets, iterations=steps))

        what = f"{name}, images a second, {steps} steps"
        sides = {"jaxadv": ours, "PyTorch, one image": theirs}
        return compare(what, sides, each=setting.batch, aim=aim, faster=True)

    made = tagger(setting)
    label = made.targets
    theirs = partial(
        pytorch.tkmia, net(made.params), images, label.relevant, label.specified, 3, steps
    )
    attack = tkmia(made.functions, inner="gradient", stop_at_success=False)
    yield from timed("TkMIA", attack, made.params, label, theirs, 2.5)

    said = speaker(setting, "show-tell")
    target = sentences(setting, 0)
    decoder = said.params["params"]["decoder"]
    theirs = partial(pytorch.gem, net(said.params), decoder, images, target.tokens, steps)
    yield from timed("GEM, complete captions", gem(said.functions), said.params, target, theirs, 3)

    hashed = hasher(setting)
    known, similar = hashed.known, hashed.targets.similar
    theirs = partial(
        pytorch.cmla,
        net(known.params),
        known.params["params"]["image_hash"],
        images,
        known.image_codes,
        known.text_codes,
        similar,
        steps,
    )
    yield from timed(
        f"CMLA over {hashable(setting.backbone)}",
        cmla(hashed.functions),
        known,
        hashed.targets,
        theirs,
        None,
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
