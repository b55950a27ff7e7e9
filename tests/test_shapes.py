"""The shapes in signatures: checked in the suite, and not at all outside."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from jaxtyping import TypeCheckError

from jaxadv.hashing.cmla import inter_modal
from jaxadv.labels.metrics import precision_at_k


@pytest.fixture
def checked(pytestconfig):
    """The modules whose functions the suite checks."""
    *names, _ = (name.strip() for name in pytestconfig.getoption("jaxtyping_packages").split(","))
    modules = [importlib.import_module(name) for name in names]
    for package in [module for module in modules if hasattr(module, "__path__")]:
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            modules.append(importlib.import_module(found.name))
    return modules


def test_every_function_is_checked_here(checked):
    functions = [
        function
        for module in checked
        for function in vars(module).values()
        if inspect.isfunction(function) and function.__module__ == module.__name__
    ]
    assert len(functions) > 150
    assert [f.__qualname__ for f in functions if not hasattr(f, "__wrapped__")] == []


def test_sizes_of_one_name_must_agree():
    scores, relevant, k = jnp.ones(4), jnp.ones(4, bool), jnp.array(2)
    assert precision_at_k(scores, relevant, k) == 1
    with pytest.raises(TypeCheckError, match="parameter 'relevant'"):
        precision_at_k(scores, relevant[:1], k)


def test_a_batch_must_be_mapped_over():
    code, codes, wanted = jnp.ones((5, 3)), jnp.ones((7, 3)), jnp.ones(7, bool)
    with pytest.raises(TypeCheckError, match="parameter 'code'"):
        inter_modal(code, codes, wanted)
    mapped = jax.jit(jax.vmap(inter_modal, in_axes=(0, None, None)))
    assert mapped(code, codes, wanted).shape == (5,)
    with pytest.raises(TypeCheckError, match="parameter 'codes'"):
        mapped(code, codes[:, :2], wanted)


def test_nothing_is_checked_outside(checked):
    """A process of its own imports all of them: no checker is there, and no function is wrapped."""
    program = f"""
import importlib, inspect, sys
for name in {[module.__name__ for module in checked]}:
    for one in vars(importlib.import_module(name)).values():
        if inspect.isfunction(one) and one.__module__ == name:
            assert not hasattr(one, "__wrapped__"), one
assert "beartype" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
