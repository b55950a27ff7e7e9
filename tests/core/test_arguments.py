"""Every public constructor and driver refuses a wrong value of each of its arguments, in a line."""

import importlib
import inspect
import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import optax
import pytest
from helpers import attack_table, label_table, tiny_hasher
from helpers.tiny_tagger import TAGGER
from type_checker import has_shapes

from jaxadv.backdoors import triggers
from jaxadv.captions import judging as captioning
from jaxadv.captions.criteria import says_target
from jaxadv.captions.gem import gem
from jaxadv.captions.gem import objective as gem_objective
from jaxadv.captions.gem import term as gem_term
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import first as ssvm_first
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.ssvm import term as ssvm_term
from jaxadv.captions.target import PartialCaption
from jaxadv.captions.untargeted import untargeted
from jaxadv.core import attack as attacks
from jaxadv.core import jpeg, memory, norms, stream, transformations, universal
from jaxadv.core import precision as arithmetic
from jaxadv.core import run as drive
from jaxadv.core.constraints import ball, clip
from jaxadv.core.expectation import over_transformations
from jaxadv.errors import InputError
from jaxadv.hashing.cmla import (
    Weights,
    bounded,
    check_target,
    cmla,
    codes_of,
    hash_check,
    hash_judge,
    released,
)
from jaxadv.hashing.cmla import objective as cmla_objective
from jaxadv.hashing.substitution import (
    as_weights,
    estimates,
    permitted,
    substitute,
    substitution,
)
from jaxadv.labels import judging as labels
from jaxadv.labels.kfool import kfool, to_boundaries
from jaxadv.labels.ml_cw_u import ml_cw_u
from jaxadv.labels.ml_cw_u import objective as ml_cw_u_objective
from jaxadv.labels.reliable import objective as reliable_objective
from jaxadv.labels.reliable import reliable
from jaxadv.labels.tkmia import objective as tkmia_objective
from jaxadv.labels.tkmia import tkmia
from jaxadv.labels.tkml_ap_u import objective as tkml_ap_u_objective
from jaxadv.labels.tkml_ap_u import tkml_ap_u

CAPTIONER, PARAMETERS = attack_table.VICTIM, attack_table.PARAMETERS
IMAGES, TARGETS = attack_table.pictures(2), attack_table.targets_of("complete", 2)
ATTACK = attack_table.ATTACKS["gem"][0]
OBJECTIVE = tkmia_objective(TAGGER)
FLOATS = np.full((4, 4, 3), 0.5, np.float32)

NOT_NUMBERS = [math.nan, math.inf, "1", True, 10**400, [1.0], np.ones(2), 1j]
POSITIVE = [0, -1.0, *NOT_NUMBERS]
NOT_NEGATIVE = [-1, np.float32(-1), *NOT_NUMBERS]
COUNT = [0, -3, 1.5, 1e30, np.float32(2), *NOT_NUMBERS[:6]]
STEPS = [3_000_000_000, *COUNT]
WORD = ["jiont", 3, None, ("l2",)]
BOOL = [1, "yes", None, np.ones(2, bool)]
FUNCTION = [3, "judge", None]
ZOO = SimpleNamespace(  # as `zoo.load` gives it
    name="mine", functions=(), params={}, architecture=SimpleNamespace(kind="captioner")
)
NO_VICTIM = [None, len, "scenes-scst", ZOO]
NOT = {
    "captioner": [*NO_VICTIM, TAGGER, tiny_hasher.HASHER],
    "tagger": [*NO_VICTIM, CAPTIONER, tiny_hasher.HASHER],
    "hasher": [*NO_VICTIM, CAPTIONER, TAGGER],
}
MADE = [0, 0.1, "clip", clip]  # where a `Constraint` or an optimiser is due
PARAMS = [None, SimpleNamespace(functions=(), params={})]
KEY = [0, "key", jnp.zeros(3), jax.random.split(jax.random.key(0))]
NO_BATCH = [None, IMAGES[0], IMAGES[:0], np.uint8(255 * IMAGES), IMAGES.at[0, 0, 0, 0].set(jnp.nan)]
NO_TARGETS = [None, jax.tree.map(lambda x: x[:1], TARGETS), ()]
IDS = [[0.5, 1.5], [1], "ab"]

ONE = {
    "constraint": MADE,
    "optimiser": MADE,
    "start": NOT_NUMBERS,
    "stop_at_success": BOOL,
}
GEM = {
    "victim": NOT["captioner"],
    "tradeoff": NOT_NEGATIVE,
    "posterior": WORD,
    "top": [*COUNT, 99],
    "lanes": COUNT,
    "tail": BOOL,
}
ON_LABELS = {"victim": NOT["tagger"], "tradeoff": NOT_NEGATIVE, "delta": COUNT}
ON_HASHES = {"victim": NOT["hasher"], "modality": ["img", 3, None]}
RELIABLE = {"victim": NOT["tagger"], "budget": STEPS, "delta": COUNT}
TKMIA = {**ON_LABELS, "inner": ["exct", 3], "multiplier_rate": POSITIVE}
WEIGHTS = [0, "ones", Weights(inter=-1.0), Weights(intra=math.nan)]
STOPPING = {name: ONE[name] for name in ("constraint", "optimiser", "stop_at_success")}
RUN = {
    "attack": [None, gem, attacks.Attack],
    "params": PARAMS,
    "images": [None, IMAGES[None], *NO_BATCH[2:]],
    "targets": [None, (), [], [jax.tree.map(lambda x: x[0], TARGETS)] * 3],
    "key": KEY,
    "ids": IDS,
}
LONG = jax.tree.map(lambda x: jnp.concatenate([x, x], axis=-1) if x.ndim > 1 else x, TARGETS)
ONE_EXAMPLE = {
    "image": [None, IMAGES, 5.0 + IMAGES[0], np.uint8(255 * IMAGES[0])],
    "target": [None, jax.tree.map(lambda x: x[0], LONG)],
}
SERVED = {
    "attack": RUN["attack"],
    "params": PARAMS,
    "iterations": STEPS,
    "slots": COUNT,
    "chunk": COUNT,
}

#: of each function: arguments that it takes, and wrong values of every argument
TABLE = {
    gem: ({"victim": CAPTIONER}, {**GEM, **ONE}),
    gem_objective: ({"victim": CAPTIONER}, GEM),
    ssvm: (
        {"victim": CAPTIONER},
        {
            "victim": NOT["captioner"],
            "tradeoff": NOT_NEGATIVE,
            "structured_loss": NOT_NEGATIVE,
            "inner": COUNT,
            **ONE,
        },
    ),
    untargeted: (
        {"victim": CAPTIONER},
        {"victim": NOT["captioner"], "tradeoff": NOT_NEGATIVE, **STOPPING},
    ),
    show_and_fool: (
        {"victim": CAPTIONER},
        {
            "victim": NOT["captioner"],
            "aim": WORD,
            "targeted": BOOL,
            "loss": ["marginn", None],
            "margin": NOT_NEGATIVE,
            "constant": POSITIVE,
            "iterations": STEPS,
            "distance": ["l1", None],
            "constraint": MADE,
            "optimiser": MADE,
        },
    ),
    tkmia: ({"victim": TAGGER}, {**TKMIA, **STOPPING}),
    tkmia_objective: ({"victim": TAGGER}, TKMIA),
    ml_cw_u: ({"victim": TAGGER}, {**ON_LABELS, **STOPPING}),
    ml_cw_u_objective: ({"victim": TAGGER}, ON_LABELS),
    tkml_ap_u: ({"victim": TAGGER}, {**ON_LABELS, **STOPPING}),
    tkml_ap_u_objective: ({"victim": TAGGER}, ON_LABELS),
    kfool: (
        {"victim": TAGGER},
        {
            "victim": NOT["tagger"],
            "overshoot": NOT_NEGATIVE,
            "delta": COUNT,
            "stop_at_success": BOOL,
        },
    ),
    reliable: ({"victim": TAGGER}, RELIABLE),
    reliable_objective: ({"victim": TAGGER}, RELIABLE),
    cmla: (
        {"victim": tiny_hasher.HASHER},
        {**ON_HASHES, "weights": WEIGHTS, "norm": WORD, "codes": WORD, **STOPPING},
    ),
    cmla_objective: (
        {"victim": tiny_hasher.HASHER},
        {**ON_HASHES, "weights": WEIGHTS, "norm": WORD, "codes": WORD},
    ),
    substitution: (
        {"victim": tiny_hasher.HASHER, "words": 1},
        {
            "victim": NOT["hasher"],
            "words": COUNT,
            "allowed": [np.ones(3), np.zeros(3, bool), np.ones((2, 2), bool), "all"],
            "candidates": COUNT,
            "beam": COUNT,
            "inter": NOT_NEGATIVE,
            "intra": NOT_NEGATIVE,
            "codes": WORD,
            "stop_at_success": BOOL,
        },
    ),
    hash_judge: ({"victim": tiny_hasher.HASHER, "modality": "text"}, ON_HASHES),
    hash_check: ({"victim": tiny_hasher.HASHER, "modality": "text"}, ON_HASHES),
    bounded: (
        {"modality": "image"},
        {"modality": ["img", None], "bound": POSITIVE, "norm": WORD},
    ),
    released: ({"modality": "image"}, {"modality": ["img"], "bound": POSITIVE}),
    ball: (
        {"radius": 1.0},
        {"radius": POSITIVE, "norm": ["l7", None], "unit": POSITIVE, "non_negative": BOOL},
    ),
    norms.length: ({"perturbation": FLOATS, "norm": "l2"}, {"norm": ["l7", None, 2]}),
    norms.project: (
        {"perturbation": FLOATS, "radius": 1.0, "norm": "l2"},
        {"radius": POSITIVE, "norm": ["l7", None, 2]},
    ),
    transformations.noise: ({"deviation": 0.1}, {"deviation": NOT_NEGATIVE}),
    transformations.resizing: (
        {"least": 0.5, "most": 0.6},
        {"least": [*POSITIVE, 0.7], "most": [*POSITIVE, 1.5, 0.4]},
    ),
    transformations.in_turn: ({}, {"transformations": FUNCTION}),
    jpeg.jpeg: (
        {"least": 50, "most": 60},
        {"least": [*COUNT, 70, 101], "most": [*COUNT, 101]},
    ),
    jpeg.compressed: ({"image": FLOATS, "quality": 50}, {"quality": [*COUNT, 101]}),
    over_transformations: (
        {"objective": OBJECTIVE, "transformation": transformations.noise(0.1)},
        {"objective": FUNCTION, "transformation": FUNCTION, "draws": COUNT},
    ),
    attacks.default_optimiser: ({}, {"learning_rate": POSITIVE}),
    labels.label_optimiser: ({}, {"learning_rate": POSITIVE}),
    attacks.descend: (
        {
            "objective": OBJECTIVE,
            "judge": labels.label_judge(TAGGER),
            "constraint": clip(),
            "optimiser": optax.sgd(0.1),
        },
        {
            "objective": FUNCTION,
            "judge": FUNCTION,
            **ONE,
            "constraint": [*MADE, None],
            "optimiser": [*MADE, None],
            "check": FUNCTION,
        },
    ),
    labels.stateless: ({"loss": print}, {"loss": FUNCTION}),
    labels.label_judge: ({"victim": TAGGER}, {"victim": NOT["tagger"], "delta": COUNT}),
    labels.label_check: (
        {"victim": TAGGER},
        {"victim": NOT["tagger"], "delta": COUNT, "needs_others": BOOL},
    ),
    labels.label_objective: (
        {"victim": TAGGER, "term": print, "tradeoff": 0.1},
        {**ON_LABELS, "term": FUNCTION, "first": FUNCTION},
    ),
    captioning.caption_judge: (
        {"victim": CAPTIONER, "criterion": says_target},
        {"victim": NOT["captioner"], "criterion": FUNCTION},
    ),
    captioning.caption_check: (
        {"victim": CAPTIONER},
        {"victim": NOT["captioner"], "kind": [None, dict, "caption"]},
    ),
    captioning.caption_objective: (
        {"victim": CAPTIONER, "criterion": says_target, "term": print, "tradeoff": 0.1},
        {
            "victim": NOT["captioner"],
            "criterion": FUNCTION,
            "term": FUNCTION,
            "tradeoff": NOT_NEGATIVE,
            "first": FUNCTION,
            "distance": FUNCTION,
        },
    ),
    drive.run: (
        {
            "attack": ATTACK,
            "params": PARAMETERS,
            "images": IMAGES,
            "targets": TARGETS,
            "iterations": 1,
        },
        {**RUN, "iterations": STEPS},
    ),
    drive.unroll: (
        {
            "attack": ATTACK,
            "params": PARAMETERS,
            "image": IMAGES[0],
            "target": jax.tree.map(lambda x: x[0], TARGETS),
            "iterations": 1,
        },
        {
            "attack": RUN["attack"],
            "params": PARAMS,
            **ONE_EXAMPLE,
            "iterations": STEPS,
            "key": KEY,
        },
    ),
    drive.compiled: (
        {
            "attack": ATTACK,
            "params": PARAMETERS,
            "images": IMAGES,
            "targets": TARGETS,
            "key": jax.random.key(0),
            "ids": jnp.arange(2),
            "iterations": 1,
        },
        {"attack": RUN["attack"], "params": PARAMS, "iterations": STEPS},
    ),
    stream.stream: (
        {
            "attack": ATTACK,
            "params": PARAMETERS,
            "requests": [],
            "iterations": 1,
            "slots": 2,
        },
        {
            **SERVED,
            "requests": [None, 3, [3]],
            "key": KEY,
            "sharding": ["all"],
            "keeper": [3],
            "place": FUNCTION[:2],
            "looks": [3, [0], [2], [1, 1]],
        },
    ),
    stream.pace: (
        {
            "attack": ATTACK,
            "params": PARAMETERS,
            "requests": [],
            "iterations": 1,
            "slots": 2,
        },
        {**SERVED, "requests": [[], None, [3]], "sharding": ["all"]},
    ),
    memory.largest_batch: (
        {
            "attack": ATTACK,
            "params": PARAMETERS,
            "image": IMAGES[0],
            "target": jax.tree.map(lambda x: x[0], TARGETS),
            "iterations": 1,
            "most": 2,
        },
        {
            "attack": RUN["attack"],
            "params": PARAMS,
            "image": [None, IMAGES],
            "iterations": STEPS,
            "most": COUNT,
            "free": COUNT,
        },
    ),
    universal.universal: (
        {
            "objective": OBJECTIVE,
            "params": label_table.PARAMETERS,
            "images": IMAGES,
            "targets": label_table.targets(2),
            "budget": 1.0,
        },
        {
            "objective": FUNCTION,
            "params": PARAMS,
            "images": NO_BATCH,
            "targets": NO_TARGETS,
            "budget": POSITIVE,
            "norm": WORD,
            "optimiser": MADE,
            "epochs": STEPS,
            "batch": COUNT,
            "enough": [*POSITIVE, 1.5],
            "key": KEY,
        },
    ),
    universal.fooled_by: (
        {
            "judge": labels.label_judge(TAGGER),
            "params": label_table.PARAMETERS,
            "images": IMAGES,
            "targets": label_table.targets(2),
            "perturbation": FLOATS,
        },
        {
            "judge": FUNCTION,
            "params": PARAMS,
            "images": NO_BATCH,
            "targets": NO_TARGETS,
            "perturbation": [np.nan * FLOATS, FLOATS[:2]],
        },
    ),
    triggers.object_oriented: ({}, {"alpha": [*POSITIVE, 256], "share": [*POSITIVE, 1.5]}),
    triggers.badnets: (
        {},
        {
            "size": [*POSITIVE, 1.5],
            "place": WORD,
            "pattern": ["checkers", None, 3, np.ones(3)],
            "opacity": [*POSITIVE, 1.5],
        },
    ),
    triggers.blended: ({}, {"opacity": [*POSITIVE, 1.5], "pattern": ["noise", 3, np.ones(3)]}),
    triggers.make_trigger: (
        {"settings": triggers.TriggerSettings()},
        {"settings": [None, {}, triggers.TriggerSettings("badnet")]},
    ),
}

#: arrays of the inner loop, of which only the shapes are looked at, and any target
UNCHECKED = {
    attacks.descend: {"victim"},
    norms.length: {"perturbation"},
    norms.project: {"perturbation"},
    jpeg.compressed: {"image"},
    drive.compiled: {"images", "targets", "key", "ids"},
    memory.largest_batch: {"target"},
}

#: steps of the drivers, and functions that make nothing of their own
MODULES = {  # whose constructors people call
    "core": (
        *("attack", "constraints", "expectation", "jpeg", "memory", "norms", "precision"),
        *("run", "stream", "transformations", "universal"),
    ),
    "captions": ("gem", "judging", "show_and_fool", "ssvm", "untargeted"),
    "labels": ("judging", "kfool", "ml_cw_u", "reliable", "tkmia", "tkml_ap_u"),
    "hashing": ("cmla", "substitution"),
}
INNER = {
    *(attacks.accept, attacks.end_step, attacks.keep_where),
    *(captioning.say, captioning.squared_l2, norms.l2_norm, universal.apply),
    *(drive.as_batch, gem_term, ssvm_term, ssvm_first),  # what the constructors check
    *(drive.check_attack, drive.check_batch, drive.check_pictures, drive.keys_of),
    *(drive.initialise, drive.is_running, drive.take_step, drive.finalise, drive.why_nothing_moved),
    *(to_boundaries, memory.free_bytes),
    *(arithmetic.checked, arithmetic.functions_of, arithmetic.changed_in, arithmetic.in_arithmetic),
    *(triggers.strength, codes_of, check_target, norms.measured),
    *(as_weights, estimates, permitted, substitute),
    arithmetic.with_weights_in_bfloat16,  # `loading.load` gives it a victim that it has loaded
    arithmetic.attack_in,  # looks at no more than the two arithmetics, as `in_arithmetic` does
}

CASES = [
    pytest.param(function, name, id=f"{function.__module__}.{function.__name__}-{name}")
    for function, (_, wrong) in TABLE.items()
    for name in wrong
]


@pytest.fixture(autouse=True)
def untyped():
    """Without the suite's type checker, which would refuse before the functions do."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.mark.parametrize(("function", "name"), CASES)
def test_a_wrong_argument_is_one_line_that_names_it(function, name):
    given, wrong = TABLE[function]
    words = (name, name.removesuffix("s"), "picture", "strength", "trigger", "inter", "intra")
    for value in wrong[name]:
        try:
            if name == "transformations":
                function(value)
            else:
                made = function(**{**given, name: value})
                if inspect.isgenerator(made):
                    list(made)
        except InputError as refusal:
            line = str(refusal)
            assert "\n" not in line and len(line) < 400
            assert any(word in line for word in words), line
        else:
            pytest.fail(f"{name} = {value!r} is accepted")


@pytest.mark.parametrize("function", TABLE, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_argument_has_wrong_values(function):
    """A new argument is refused here until there are some."""
    arguments = set(inspect.signature(function).parameters)
    assert arguments == set(TABLE[function][1]) | UNCHECKED.get(function, set())


def test_every_public_function_is_here():
    """A new constructor is refused here until its arguments are checked."""
    modules = [triggers]
    for package, names in MODULES.items():
        modules += [importlib.import_module(f"jaxadv.{package}.{name}") for name in names]
    found = {
        member
        for module in modules
        for name, member in vars(module).items()
        if inspect.isfunction(inspect.unwrap(member))
        and not name.startswith("_")
        and getattr(member, "__module__", "") == module.__name__
        and inspect.signature(inspect.unwrap(member)).parameters
        and not (has_shapes(inspect.unwrap(member)) and member not in TABLE)
    }
    known = set(TABLE) | INNER
    assert {f"{f.__module__}.{f.__name__}" for f in found - known} == set()


@pytest.mark.parametrize("number", [np.int64(2), np.int32(2), jnp.asarray(2)], ids=str)
def test_whole_numbers_of_numpy_and_jax_are_numbers(number):
    made = gem(CAPTIONER, lanes=number, tradeoff=np.float32(0.5), tail=np.bool_(True))
    assert isinstance(made, attacks.Attack)
    assert isinstance(tkmia(TAGGER, delta=number), attacks.Attack)


def test_traced_numbers_are_not_looked_at():
    """A constructor works under `jit`, as meta-learning needs it."""

    @jax.jit
    def picture(radius, rate):
        constraint = ball(radius)
        attacks.default_optimiser(rate)
        tkmia(TAGGER, tradeoff=rate)
        return constraint.picture(constraint.project(jnp.ones((4, 4, 3)), IMAGES[0]), IMAGES[0])

    assert picture(0.1, 0.1).shape == (4, 4, 3)


def test_no_request_is_no_result():
    served = stream.stream(ATTACK, PARAMETERS, [], iterations=1, slots=2)
    assert list(served) == []


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda r: r._replace(id=0), "request 0: an earlier one has this id"),
        (lambda r: r._replace(id=-1), "request's id -1: must be a whole number"),
        (lambda r: r._replace(id=2**31), "request's id 2147483648: must be"),
        (lambda r: r._replace(image=np.uint8(255 * r.image)), "request 1: uint8"),
        (lambda r: r._replace(image=r.image[:2]), r"request 1: .*this victim sees \(4, 4, 3\)"),
        (lambda r: r._replace(target=None), "request 1: target None: must be a PartialCaption"),
        (
            lambda r: r._replace(target=r.target._replace(observed=r.target.observed & False)),
            "request 1: the target observes no word",
        ),
        (
            lambda r: r._replace(target=r.target._replace(tokens=r.target.tokens + 90)),
            "request 1: the target has the word number 9",
        ),
    ],
)
def test_a_request_that_cannot_be_attacked_is_named(spoil, line):
    images, targets = jax.tree.map(np.asarray, (IMAGES, TARGETS))
    made = [
        stream.Request(i, images[i], jax.tree.map(lambda x, i=i: x[i], targets)) for i in (0, 1)
    ]
    with pytest.raises(InputError, match=line):
        list(stream._checked(ATTACK, PARAMETERS, [made[0], spoil(made[1])]))


def spoilt_labels():
    """A label target each that nothing can be done for, and why."""
    fine = jax.tree.map(lambda x: np.asarray(x[1]), label_table.targets(2))
    every, nothing = np.ones(9, bool), np.zeros(9, bool)
    return [
        (tkmia(TAGGER), fine._replace(specified=nothing), "no specified label"),
        (tkmia(TAGGER), fine._replace(relevant=nothing), "is not relevant"),
        (tkmia(TAGGER), fine._replace(k=np.int32(9)), "k = 9: give from 1 to 8"),
        (tkmia(TAGGER), fine._replace(k=np.int32(0)), "k = 0: give from 1 to 8"),
        (tkmia(TAGGER), fine._replace(relevant=every[:5]), "must be bool"),
        (tkmia(TAGGER, delta=9), fine, "delta = 9: must be at most"),
        (kfool(TAGGER), fine._replace(relevant=every), "every label is relevant"),
        (ml_cw_u(TAGGER), fine._replace(relevant=every), "every label is relevant"),
        (tkmia(TAGGER), PartialCaption(1, 2, 3), "must be a LabelTarget"),
    ]


@pytest.mark.parametrize(("attack", "target", "line"), spoilt_labels())
def test_labels_for_which_nothing_can_be_done_are_refused(attack, target, line):
    with pytest.raises(InputError, match=line):
        attack.check(label_table.PARAMETERS, FLOATS, target)


def test_codes_for_which_nothing_can_be_done_are_refused():
    known, fine = tiny_hasher.known(dtype="float32"), tiny_hasher.target(0)
    attack = cmla(tiny_hasher.HASHER, "image")
    attack.check(known, FLOATS, fine)
    for params, target, line in (
        (known.params, fine, "params of type dict: must be a Known"),
        (known, fine._replace(wanted=fine.wanted[:3]), "target wanted: shape"),
        (known, fine._replace(wanted=fine.wanted & False), "no item of the context is wanted"),
    ):
        with pytest.raises(InputError, match=line):
            attack.check(params, FLOATS, target)
