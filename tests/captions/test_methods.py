"""The attacks on captioners by name: the papers' settings, what is refused, and balls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.attack_table import PARAMETERS, VICTIM, pictures, targets_of

from jaxadv.captions.gem import gem
from jaxadv.captions.methods import METHODS
from jaxadv.captions.options import CAPTION, COMPLETE, KEYWORDS, PRESENT
from jaxadv.captions.show_and_fool import show_and_fool
from jaxadv.captions.ssvm import ssvm
from jaxadv.captions.untargeted import untargeted
from jaxadv.core.method import as_text, choose, describe
from jaxadv.core.run import run, unroll
from jaxadv.errors import InputError

IMAGE = pictures(1)[0]
TARGET = jax.tree.map(lambda x: x[0], targets_of("complete", 1))


@pytest.mark.parametrize(
    ("name", "attack", "iterations"),
    [
        ("gem", gem(VICTIM), 50),
        ("ssvm", ssvm(VICTIM), 100),
        ("untargeted", untargeted(VICTIM), 50),
        ("show-and-fool", show_and_fool(VICTIM), 5000),
    ],
)
def test_defaults_are_the_attacks_own(name, attack, iterations):
    """λ = 0.1 and Adam 1e-3, or Show-and-Fool's; the papers' numbers of steps."""
    method = choose(METHODS, name)
    assert method.iterations == iterations
    got, wanted = (
        run(one, PARAMETERS, IMAGE, TARGET, iterations=3).final.image
        for one in (method.attack(VICTIM), attack)
    )
    np.testing.assert_array_equal(got, wanted)


def test_the_same_options_are_the_same_attack():
    """So that it compiles once; a victim of another kind is refused."""
    assert choose(METHODS, "gem").attack(VICTIM) is choose(METHODS, "gem").attack(VICTIM)
    with pytest.raises(InputError, match="victim"):
        choose(METHODS, "gem").attack("scenes-scst")


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("gmm", {}, "method 'gmm': must be one of gem, ssvm, show-and-fool, untargeted"),
        ("gem", {"posterior": "jiont"}, "posterior 'jiont': must be one of factorised, joint"),
        ("gem", {"tail": 1}, "tail 1: must be true or false"),
        ("gem", {"structured_loss": 2.0}, "structured_loss: is not read by gem; it is for ssvm"),
        ("gem", {"iterations": 2.5}, "iterations 2.5: must be a whole number"),
        ("gem", {"epsilon": 0.1, "space": "tanh"}, "space 'tanh': must be clip where epsilon"),
        (
            "show-and-fool",
            {"loss": "logits", "margin": 2.0},
            "margin: is not read by show-and-fool",
        ),
        ("show-and-fool", {"iterations": 10**6}, "iterations 5000000: must be a whole number"),
        ("untargeted", {"targeted": False}, "targeted: is not read by untargeted"),
    ],
)
def test_options_out_of_range_are_refused(name, options, line):
    with pytest.raises(InputError, match=line):
        choose(METHODS, name, **options)


def test_what_a_target_is():
    found = [choose(METHODS, m.name).aims_at for m in METHODS]
    assert found == [CAPTION, CAPTION, COMPLETE, PRESENT, CAPTION, CAPTION]
    assert choose(METHODS, "show-and-fool", aim="keywords").aims_at == KEYWORDS
    assert choose(METHODS, "show-and-fool", targeted=False).aims_at == PRESENT


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("name", ["gem", "ssvm", "untargeted"])
def test_a_ball_is_kept_to(name, norm):
    """By signed steps, which reach its edge."""
    options = {"epsilon": 0.05, "norm": norm, "optimiser": "sign", "learning_rate": 0.1}
    method = choose(METHODS, name, tradeoff=0.0, **options)
    state, _ = unroll(method.attack(VICTIM), PARAMETERS, IMAGE, TARGET, iterations=3)
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]
    length = jnp.linalg.norm(jnp.ravel(state.perturbation), order)
    assert 0.03 < length <= 0.05 * (1 + 1e-4)


def test_records_say_what_is_read_and_no_more():
    used = choose(METHODS, "show-and-fool", loss="logits").used
    assert "margin" not in used and next(iter(used)) == "method" and list(used)[-1] == "judged"
    in_ball = choose(METHODS, "gem", epsilon=0.1).used
    assert (in_ball["epsilon"], in_ball["epsilon_norm"]) == (0.1, "linf")
    assert not {"epsilon", "epsilon_norm", "norm"} & set(choose(METHODS, "gem").used)
    assert as_text(choose(METHODS, "ssvm", structured_loss=2.0)) == "ssvm structured_loss=2"


def test_help_names_who_reads_an_option_with_its_value():
    assert describe("tradeoff", METHODS) == "gem, ssvm, untargeted: λ, weight of the norm [0.1]"
    assert "show-and-fool: steps a try [1000]" in describe("iterations", METHODS)
