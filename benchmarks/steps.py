"""Attack steps over the bare `value_and_grad` of their victims, in the same kind of loop."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from benchmarks.setting import (
    Setting,
    hashable,
    hasher,
    hub_speaker,
    sentences,
    speaker,
    tagger,
)
from benchmarks.timing import Figure, attack_steps, bare_steps, compare, first_states
from jaxadv.captions.captioner import (
    Captioner,
    caption_log_probability,
    greedy,
    teacher_forced_logits,
)
from jaxadv.captions.gem import gem
from jaxadv.captions.marginal import marginal
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.target import PartialCaption
from jaxadv.captions.untargeted import untargeted
from jaxadv.core.attack import Attack, Params, Target
from jaxadv.hashing.cmla import cmla
from jaxadv.labels.kfool import kfool
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.tkmia import tkmia
from jaxadv.labels.tkml_ap_u import tkml_ap_u

Loss = Callable[[Params, Array], Array]


def label_steps(setting: Setting) -> Iterator[Figure]:
    """TkMIA, its baselines, and kFool over TkMIA."""
    made = tagger(setting)
    victim, k = made.functions, int(made.targets.k[0])

    def bare(params: Params, image: Array) -> Array:
        return jnp.sum(victim.scores(params, image) ** 2)

    def sides(attack: Attack) -> Callable[[], Any]:
        return _steps(setting, attack, made.params, made.targets)

    attacks: dict[str, tuple[Attack, float | None]] = {
        "TkMIA": (tkmia(victim, stop_at_success=False), 1.03),
        "ML-CW-U": (ml_cw_u(victim, stop_at_success=False), None),
        "TkML-AP-U": (tkml_ap_u(victim, stop_at_success=False), None),
    }
    for name, (attack, aim) in attacks.items():
        yield from _over_bare(setting, name, sides(attack), bare, made.params, aim)
    both = {
        "kFool": sides(kfool(victim, stop_at_success=False)),
        "TkMIA": sides(attacks["TkMIA"][0]),
    }
    aim = 0.55 * (k + 3)
    yield from compare(f"kFool's step, k = {k}", both, each=setting.steps, aim=aim)


def caption_steps(setting: Setting, decoder: str = "att2in2") -> Iterator[Figure]:
    """Show-and-Fool, latent SSVM, and GEM by its number of latent words."""
    made = speaker(setting, decoder)
    victim = made.functions
    bare = encoder(victim)

    def timed(name: str, attack: Attack, target: Target, aim: float | None) -> Iterator[Figure]:
        steps = _steps(setting, attack, made.params, target)
        yield from _over_bare(setting, name, steps, bare, made.params, aim)

    complete = sentences(setting, 0)
    yield from timed("Show-and-Fool", show_and_fool(victim), complete, None)
    yield from timed("latent SSVM", ssvm(victim), complete, None)
    yield from timed("untargeted (eq. 19)", untargeted(victim), complete, None)
    for latent, lanes, aim in (
        (0, 27, None),
        (1, 27, None),
        (3, 27, 1.25),
        (5, 27, 1.5),
        (5, 243, None),
    ):
        target = sentences(setting, latent)
        name = f"GEM, {latent} latent words" + (f", {lanes} configurations" if latent > 3 else "")
        yield from timed(name, gem(victim, lanes=lanes), target, aim)
    yield from _beyond_the_decoder(setting, victim, made.params)
    yield from _trie_over_enumeration(setting, victim, made.params)


def hub_steps(setting: Setting) -> Iterator[Figure]:
    """GEM on a captioner of the Hub, ViT-B/16 and GPT-2, over its bare encoder."""
    made = hub_speaker(setting)
    victim = made.functions
    for latent, aim in ((0, None), (3, 1.35)):
        target = sentences(setting, latent, victim.vocabulary.size)
        steps = _steps(setting, gem(victim), made.params, target)
        name = f"GEM on ViT-GPT2, {latent} latent tokens"
        yield from _over_bare(setting, name, steps, encoder(victim), made.params, aim)


def encoder(victim: Captioner) -> Loss:
    """What a captioner sees, as a loss."""

    def loss(params: Params, image: Array) -> Array:
        leaves = jax.tree.leaves(victim.encode(params, image))
        return jnp.asarray(sum(jnp.sum(x**2) for x in leaves))

    return loss


def _beyond_the_decoder(setting: Setting, victim: Captioner, params: Params) -> Iterator[Figure]:
    """Whole steps over the bare `value_and_grad` of what they encode and decode."""
    complete = sentences(setting, 0)

    def marginal_of(params: Params, image: Array, target: PartialCaption) -> Array:
        return marginal(victim, params, victim.encode(params, image), target).bound

    def forced(params: Params, image: Array, target: PartialCaption) -> Array:
        features = victim.encode(params, image)
        said = greedy(victim, params, features).log_probability
        logits = teacher_forced_logits(victim, params, features, target.tokens)
        return jnp.max(logits, axis=-1).sum() + jax.lax.stop_gradient(said)

    images = setting.pictures()

    def sides(
        name: str, attack: Attack, loss: Callable[..., Array]
    ) -> dict[str, Callable[[], Any]]:
        def paired(both: tuple[Params, PartialCaption], image: Array) -> Array:
            return loss(both[0], image, both[1])

        bare = bare_steps(paired, setting.steps, shared=(None, 0))
        return {
            name: _steps(setting, attack, params, complete),
            "bare value_and_grad with its decoder": lambda: bare((params, complete), images),
        }

    gem_sides = sides("GEM, complete captions", gem(victim), marginal_of)
    fool_sides = sides("Show-and-Fool", show_and_fool(victim), forced)
    for both in (gem_sides, fool_sides):
        yield from compare("attack's step", both, each=setting.steps, aim=1.03)


def _trie_over_enumeration(setting: Setting, victim: Captioner, params: Params) -> Iterator[Figure]:
    """Decode three latent words as a trie, and as 27 whole captions; both with the gradient."""
    target: PartialCaption = jax.tree.map(lambda x: x[0], sentences(setting, 3))
    features = jax.jit(victim.encode)(params, setting.pictures()[0])
    captions = jnp.tile(target.tokens, (27, 1))

    def trie(features: Any) -> Array:
        return marginal(victim, params, features, target).bound

    def every(features: Any) -> Array:
        of = jax.vmap(caption_log_probability, in_axes=(None, None, None, 0))
        return jnp.mean(of(victim, params, features, captions))

    sides = {
        name: jax.jit(jax.value_and_grad(decode))
        for name, decode in {"trie": trie, "27 captions": every}.items()
    }
    timed = {name: lambda side=side: side(features) for name, side in sides.items()}
    yield from compare("decoder of a GEM step, 3 latent words", timed)


def hash_steps(setting: Setting) -> Iterator[Figure]:
    """CMLA on pictures."""
    made = hasher(setting)
    victim = made.functions

    def bare(params: Params, image: Array) -> Array:
        return jnp.sum(victim.image_code(params, image) ** 2)

    steps = _steps(setting, cmla(victim), made.known, made.targets)
    name = f"CMLA over {hashable(setting.backbone)}, {len(made.known.image_codes):,} codes"
    yield from _over_bare(setting, name, steps, bare, made.known.params, 1.03)


def _steps(setting: Setting, attack: Attack, params: Params, targets: Target) -> Callable[[], Any]:
    images = setting.pictures()
    states = first_states(attack, params, images, targets)
    steps = attack_steps(attack, images, targets, setting.steps)
    return lambda: steps(params, states)


def _over_bare(
    setting: Setting,
    name: str,
    steps: Callable[[], Any],
    loss: Loss,
    params: Params,
    aim: float | None,
) -> list[Figure]:
    images, bare = setting.pictures(), bare_steps(loss, setting.steps)
    sides = {name: steps, "bare value_and_grad": lambda: bare(params, images)}
    return compare("attack's step", sides, each=setting.steps, aim=aim)
