"""Functions of PyTorch as JAX functions of one example, by batched callbacks with gradients.

`jit`, `vmap`, `grad` and `scan` see a function as any other; a whole batch, that of a `vmap` in a
`vmap` included, is one call of PyTorch. The reverse pass runs the function again: nothing of
PyTorch outlives a call, so that a program may be run, batched and repeated as it pleases JAX.
(`torchax` would trace modules without callbacks; 0.0.13 cannot be imported with PyTorch 2.13.)
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxadv.errors import InputError

Tensor = Any
Shapes = tuple[tuple[int, ...], ...]


def pytorch() -> Any:
    """Import PyTorch.

    Raises:
      InputError: it is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise InputError("modules of PyTorch: pip install 'jaxadv[torch]' brings `torch`") from None
    return torch


def in_jax(function: Callable[..., Tensor], module: Any) -> Callable[..., Array]:
    """Turn a function of batches in PyTorch into a JAX function of one example.

    Args:
      function: tensors with a leading axis of examples to one with the same, or to an object that
        has it as `logits`. Floats come as the module's parameters are, whole numbers as int64.
      module: whose parameters say where and in what arithmetic it computes; what is no
        `torch.nn.Module` computes on the CPU, in float32.

    Returns:
      arrays of one example to one f32 array. It has a reverse-mode derivative by every float
      argument, which has none itself. An `InputError` while it is traced says what is wrong with
      the function.

    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> double = in_jax(lambda batch: 2 * batch, None)
    >>> jax.vmap(jax.grad(lambda x: double(x).sum()))(jnp.zeros((2, 3))).tolist()
    [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    """
    made = lru_cache(maxsize=None)(partial(_callbacks, _Function(function, module)))

    def of_one(*arguments: Any) -> Array:
        _refuse_training(module)
        arrays = [jnp.asarray(x) for x in arguments]
        floats = tuple(bool(jnp.issubdtype(x.dtype, jnp.floating)) for x in arrays)
        arrays = [
            x.astype(jnp.float32 if is_float else jnp.int32)
            for x, is_float in zip(arrays, floats, strict=True)
        ]
        run = made(tuple(x.shape for x in arrays), floats)
        return jnp.asarray(run(*arrays))

    return of_one


def _refuse_training(module: Any) -> None:
    if isinstance(module, pytorch().nn.Module) and any(part.training for part in module.modules()):
        raise InputError("the PyTorch module is in training mode; call its eval()")


def tensor_of(found: Any) -> Tensor:
    """Return what a module gives, or the `logits` of it."""
    logits: Tensor = getattr(found, "logits", found)
    return logits


class _Function:
    """A function of PyTorch on NumPy's arrays."""

    def __init__(self, function: Callable[..., Tensor], module: Any) -> None:
        self._torch = pytorch()
        self._function = function
        is_module = isinstance(module, self._torch.nn.Module)
        self._module = module if is_module else None

    def values(self, inputs: list[Tensor]) -> Tensor:
        """Run it on examples along a leading axis, without gradients."""
        with self._torch.no_grad():
            return self._out(inputs)

    def gradients(self, inputs: list[Tensor], cotangent: Tensor) -> list[Tensor]:
        """Run it, and pull back a cotangent to all float inputs."""
        with self._torch.enable_grad():
            leaves = [x.requires_grad_() if x.is_floating_point() else x for x in inputs]
            wanted = [x for x in leaves if x.requires_grad]
            out = self._out(leaves)
            if not wanted or not out.requires_grad:
                return [self._torch.zeros_like(x) for x in wanted]
            pulled = cotangent.to(out.device, out.dtype)
            found = self._torch.autograd.grad(out, wanted, pulled, allow_unused=True)
        pairs = zip(found, wanted, strict=True)
        return [self._torch.zeros_like(x) if slope is None else slope for slope, x in pairs]

    def _out(self, inputs: list[Tensor]) -> Tensor:
        # copies, since a module may change what it is given, which is JAX's memory
        return tensor_of(self._function(*(x.clone() for x in inputs)))

    def tensor(self, array: Any) -> Tensor:
        """Return an array as a tensor that the module takes; it may share the array's memory."""
        found = self._torch.from_dlpack(array)
        if not found.is_floating_point():
            return found.to(self._device, self._torch.int64)
        return found.to(self._device, self._kind)

    @property
    def _device(self) -> Any:
        return next((x.device for x in self._parameters()), "cpu")

    @property
    def _kind(self) -> Any:
        floats = (x.dtype for x in self._parameters() if x.is_floating_point())
        return next(floats, self._torch.float32)

    def _parameters(self) -> Any:
        return () if self._module is None else self._module.parameters()

    def array(self, tensor: Tensor) -> np.ndarray:
        """Return a tensor as NumPy's f32."""
        found: np.ndarray = tensor.detach().to("cpu", self._torch.float32).numpy()
        return found

    def tried(self, shapes: Shapes, floats: tuple[bool, ...]) -> tuple[int, ...]:
        """Run it and its gradient on two examples of zeros; return the shape of what one gives.

        Raises:
          InputError: it fails, or does not give a row for each.
        """
        zeros = [
            np.zeros((2, *shape), np.float32 if is_float else np.int32)
            for shape, is_float in zip(shapes, floats, strict=True)
        ]
        batch = " and ".join(str(list(x.shape)) for x in zeros)
        given = f"the PyTorch function, given a batch {batch},"
        try:
            out = self.values([self.tensor(x) for x in zeros])
            is_tensor = isinstance(out, self._torch.Tensor)
            if is_tensor and out.ndim and len(out) == 2:
                self.gradients([self.tensor(x) for x in zeros], self._torch.ones_like(out))
                return tuple(out.shape[1:])
        except Exception as problem:  # whatever a module may raise
            line = str(problem).strip().split("\n")[0]
            raise InputError(f"{given} fails ({type(problem).__name__}: {line})") from problem
        found = f"shape {list(out.shape)}" if is_tensor else f"a {type(out).__name__}"
        accepted = "a tensor (or an object with one as `logits`) with a row for each example"
        raise InputError(f"{given} gives {found}; must give {accepted}")


def _callbacks(
    function: _Function, shapes: Shapes, floats: tuple[bool, ...]
) -> Callable[..., Array]:
    """Make the JAX function for examples of such shapes."""
    of_one = function.tried(shapes, floats)
    out = jax.ShapeDtypeStruct(of_one, jnp.float32)
    call = partial(jax.pure_callback, vmap_method="expand_dims")

    def forward(*arrays: Array) -> np.ndarray:
        inputs, lead = _in_a_row(function, arrays, shapes)
        return function.array(function.values(inputs)).reshape(*lead, *of_one)

    def backward(*arrays: Array) -> list[np.ndarray]:
        (*inputs, cotangent), lead = _in_a_row(function, arrays, (*shapes, of_one))
        slopes = iter(function.gradients(inputs, cotangent))
        return [
            function.array(next(slopes)).reshape(*lead, *shape)
            for shape, is_float in zip(shapes, floats, strict=True)
            if is_float
        ]

    @jax.custom_vjp
    def run(*arrays: Array) -> Array:
        return jnp.asarray(call(forward, out, *arrays))

    def keep(*arrays: Array) -> tuple[Array, tuple[Array, ...]]:
        return run(*arrays), arrays

    def pull(arrays: tuple[Array, ...], cotangent: Array) -> tuple[Array | None, ...]:
        wanted = [x for x, is_float in zip(arrays, floats, strict=True) if is_float]
        like = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in wanted]
        slopes = iter(call(backward, like, *arrays, cotangent))
        return tuple(next(slopes) if is_float else None for is_float in floats)

    run.defvjp(keep, pull)
    return run


def _in_a_row(
    function: _Function, arrays: Sequence[Array], shapes: Shapes
) -> tuple[list[Tensor], tuple[int, ...]]:
    """Lay out the examples of however many batch axes along one.

    An axis of `vmap` that an argument is the same along has the size 1.

    Returns:
      the arguments as tensors, and the batch axes.
    """
    axes = [x.shape[: x.ndim - len(shape)] for x, shape in zip(arrays, shapes, strict=True)]
    lead = np.broadcast_shapes(*axes)
    rows = [
        function.tensor(x).expand((*lead, *shape)).reshape((prod(lead), *shape))
        for x, shape in zip(arrays, shapes, strict=True)
    ]
    return rows, lead
