"""What training code puts around the entries of a network, and how it is taken off again."""

from collections import Counter

from jaxadv.formats.errors import PortingError, listed
from jaxadv.porting.fitting import Arrays

#: keys under which training code keeps a network's entries, among other things that it saves
WRAPPERS = (
    "state_dict",
    "model",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "ema",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
    "params_ema",
)

# What names begin with where the network is an attribute of what was saved.
_PREFIXES = ("module.", "model.", "net.", "network.", "ema.", "ema_model.", "model_ema.")
# What wraps any module, so that names have it at any place: `torch.compile`, FSDP, checkpointing.
_ANYWHERE = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_MOST_PREFIXES = 4  # wrappers of wrappers
_COUNTERS = ("n_averaged",)  # of `torch.optim.swa_utils.AveragedModel`


def unwrapped(arrays: Arrays, source: str) -> Arrays:
    """Take known prefixes off the names: those that all names have, one after the other.

    Raises:
      PortingError: two names would become one.
    """
    names = {name: _bare(name) for name in arrays if name not in _COUNTERS}
    for _ in range(_MOST_PREFIXES):
        prefix = next((p for p in _PREFIXES if _is_shared(p, names)), "")
        bare = {name: shown.removeprefix(prefix) for name, shown in names.items()}
        names = {name: shown for name, shown in bare.items() if shown not in _COUNTERS}
    counts = Counter(names.values())
    if twice := [name for name, count in counts.items() if count > 1]:
        raise PortingError(f"{source}: with and without a wrapper's prefix are {listed(twice)}")
    return {shown: arrays[name] for name, shown in names.items()}


def _is_shared(prefix: str, names: dict[str, str]) -> bool:
    return all(shown.startswith(prefix) for shown in names.values())


def _bare(name: str) -> str:
    for wrapper in _ANYWHERE:
        if name.startswith(wrapper):
            name = name.removeprefix(wrapper)
        name = name.replace(f".{wrapper}", ".")
    return name
