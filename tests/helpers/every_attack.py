"""Every attack on tiny victims, with a number of examples: what programs are looked at for."""

import jax.numpy as jnp
import numpy as np
from helpers import attack_table, label_table, tiny_hasher

from jaxadv.hashing import methods as of_hashing
from jaxadv.labels.reliable import reliable as reliable_labels


def hash_case(name, count):
    (method,) = (m for m in of_hashing.METHODS if m.name == name)
    attack = method.make(tiny_hasher.HASHER, method.options(modality="image"))
    images = jnp.stack([tiny_hasher.example("image", s, np.float32) for s in range(count)])
    targets = tiny_hasher.stack([tiny_hasher.target(s) for s in range(count)])
    return attack, tiny_hasher.known(dtype=np.float32), images, targets


def cases(count):
    """Yield names, and functions that make an attack, parameters, pictures and targets."""
    for name, (attack, kind) in attack_table.ATTACKS.items():
        yield (
            name,
            lambda attack=attack, kind=kind: (
                attack,
                attack_table.PARAMETERS,
                attack_table.pictures(count),
                attack_table.targets_of(kind, count),
            ),
        )
    of_labels = {**label_table.ATTACKS, "reliable": reliable_labels(label_table.TAGGER, budget=9)}
    for name, attack in of_labels.items():
        yield (
            f"labels-{name}",
            lambda attack=attack: (
                attack,
                label_table.PARAMETERS,
                label_table.pictures(count),
                label_table.targets(count),
            ),
        )
    for name in ("cmla", "reliable"):
        yield f"hashing-{name}", lambda name=name: hash_case(name, count)
