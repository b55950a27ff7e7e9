"""What a step of every attack costs on a TPU, by programs that are compiled without one.

    pip install '.[tpu-aot]'
    python -m benchmarks.ahead_of_time --batch 8
    python -m benchmarks.ahead_of_time --only "GEM" --batch 8 16 32 --arithmetic bfloat16

XLA's compiler for a v5e chip says of each program how many floating-point operations it has, how
many bytes it moves, and how much memory it takes. A step's are divided by those of the bare
`value_and_grad` of its victim. The *roofline* is the least time of a step at the chip's published
numbers: the longer of its operations at the peak and its bytes at the bandwidth.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

BARE = "bare pass"
CHIP, TOPOLOGY = "TPU v5e", "v5e:2x2"
PEAK, BANDWIDTH = 197e12, 819e9
"""Operations a second in bfloat16, and bytes a second of its memory, as Google publishes them."""


class Case(NamedTuple):
    """A program: a step of an attack, or a victim's bare pass.

    Attributes:
      name: of the attack; "bare pass" for the victim's.
      victim: what is attacked, in words.
      step: the function of one example that is batched.
      inputs: its arguments' shapes; those of `shared` have no axis of examples.
      shared: along which axes the arguments are batched, as `in_axes`.
    """

    name: str
    victim: str
    step: Callable[..., Any]
    inputs: tuple[Any, ...]
    shared: tuple[int | None, ...]


class Cost(NamedTuple):
    """What the compiler says of a program.

    Attributes:
      flops: floating-point operations.
      accessed: bytes read and written.
      memory: bytes of arguments, results and temporaries at once.
      seconds: that compiling took.
    """

    flops: float
    accessed: float
    memory: float
    seconds: float

    @property
    def roofline(self) -> float:
        """Return the least seconds of a step on the chip."""
        return max(self.flops / PEAK, self.accessed / BANDWIDTH)


def prepare() -> None:
    """Set what JAX and libtpu read when they are imported.

    Raises:
      SystemExit: the extra `tpu-aot` is not installed.
    """
    found = find_spec("libtpu")
    if found is None or found.origin is None:
        raise SystemExit("pip install '.[tpu-aot]' brings `libtpu`, which compiles for TPUs")
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ["TPU_LIBRARY_PATH"] = str(Path(found.origin).parent / "libtpu.so")
    os.environ["JAX_PLATFORMS"] = "cpu"


@cache
def _chip() -> Any:
    """Return a mesh of one chip that is not here."""
    import numpy as np
    from jax.experimental import topologies
    from jax.sharding import Mesh

    topology = topologies.get_topology_desc(platform="tpu", topology_name=TOPOLOGY)
    return Mesh(np.array(topology.devices[:1]), ("chip",))


def cost(case: Case) -> Cost:
    """Compile a program for the chip, and read what its compiler says."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    here = NamedSharding(_chip(), PartitionSpec())
    inputs = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), case.inputs
    )
    began = time.perf_counter()
    program = jax.jit(jax.vmap(case.step, in_axes=case.shared)).lower(*inputs).compile()
    seconds = time.perf_counter() - began
    said: Any = program.cost_analysis()
    memory: Any = program.memory_analysis()
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    whole = held + memory.temp_size_in_bytes
    return Cost(said["flops"], said["bytes accessed"], whole, seconds)


def cases(setting: Any) -> Iterator[Case]:
    """Yield every attack on full-size victims, each victim's bare pass first."""
    import jax.numpy as jnp

    from benchmarks.setting import hashable, hasher, sentences, speaker, tagger
    from benchmarks.steps import encoder
    from jaxadv.captions.gem import gem
    from jaxadv.captions.show_and_fool import show_and_fool
    from jaxadv.captions.ssvm import ssvm
    from jaxadv.captions.untargeted import untargeted
    from jaxadv.hashing.cmla import cmla
    from jaxadv.labels.kfool import kfool
    from jaxadv.labels.ml_cw_u import ml_cw_u
    from jaxadv.labels.tkmia import tkmia
    from jaxadv.labels.tkml_ap_u import tkml_ap_u

    says = speaker(setting, "att2in2")
    name = f"Att2in2 over {setting.backbone}"
    yield _bare(setting, name, encoder(says.functions), says.params)
    for what, latent, attack in (
        ("GEM, complete captions", 0, gem(says.functions)),
        ("GEM, 3 latent words", 3, gem(says.functions)),
        ("GEM, 3 latent words, joint", 3, gem(says.functions, posterior="joint")),
        ("latent SSVM, complete captions", 0, ssvm(says.functions)),
        ("latent SSVM, 3 latent words", 3, ssvm(says.functions)),
        ("Show-and-Fool", 0, show_and_fool(says.functions)),
        ("untargeted", 0, untargeted(says.functions)),
    ):
        yield _step(setting, what, name, attack, says.params, sentences(setting, latent))

    tags = tagger(setting)
    scores = tags.functions.scores
    name = f"tagger over {setting.backbone}"
    yield _bare(setting, name, lambda p, x: jnp.sum(scores(p, x) ** 2), tags.params)
    for method in (tkmia, ml_cw_u, tkml_ap_u, kfool):
        attack = method(tags.functions, stop_at_success=False)
        yield _step(setting, method.__name__, name, attack, tags.params, tags.targets)

    codes = hasher(setting)
    code = codes.functions.image_code
    name = f"DCMH over {hashable(setting.backbone)}"
    yield _bare(setting, name, lambda p, x: jnp.sum(code(p, x) ** 2), codes.known.params)
    yield _step(setting, "CMLA", name, cmla(codes.functions), codes.known, codes.targets)


def _bare(setting: Any, victim: str, loss: Callable[..., Any], params: Any) -> Case:
    import jax

    step = jax.value_and_grad(loss, argnums=1)
    return Case(BARE, victim, step, (params, setting.pictures()), (None, 0))


def _step(setting: Any, name: str, victim: str, attack: Any, params: Any, targets: Any) -> Case:
    import jax

    images = setting.pictures()
    keys = jax.random.split(jax.random.key(0), setting.batch)
    begin = jax.vmap(attack.init, in_axes=(None, 0, 0, 0))
    states = jax.eval_shape(begin, params, images, targets, keys)
    return Case(name, victim, attack.step, (params, images, targets, states), (None, 0, 0, 0))


def main() -> None:
    """Print a row for each program as it is compiled, and write them as a record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="resnet101")
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--batch", type=int, nargs="+", default=[8])
    parser.add_argument("--arithmetic", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--only", nargs="+", default=[""], help="parts of the names of attacks")
    parser.add_argument("--json", type=Path, help="file for a record of docs/results")
    given = parser.parse_args()
    prepare()
    rows: list[tuple[str, ...]] = []
    print(" | ".join(COLUMNS), flush=True)
    for batch in given.batch:
        for row in table(given, batch):
            rows.append(row)
            print(" | ".join(row), flush=True)
            if given.json is not None:
                _write(given.json, rows)


def table(given: argparse.Namespace, batch: int) -> Iterator[tuple[str, ...]]:
    """Compile the wanted attacks at a batch, and the bare passes they are compared with."""
    from benchmarks.setting import Setting

    setting = Setting(given.backbone, given.side, batch, arithmetic=given.arithmetic)
    wanted = [word.lower() for word in given.only]
    passes: dict[str, Case] = {}
    costs: dict[str, Cost] = {}
    for case in cases(setting):
        if case.name == BARE:
            passes[case.victim] = case
        elif any(word in case.name.lower() for word in wanted):
            bare = passes[case.victim]
            if bare.victim not in costs:
                costs[bare.victim] = cost(bare)
                yield _row(bare, batch, costs[bare.victim], costs[bare.victim])
            yield _row(case, batch, cost(case), costs[bare.victim])


COLUMNS = (
    *("victim", "program", "batch", "GFLOP a picture", "over the pass", "MiB a picture"),
    *("over the pass", "memory, MiB", "roofline, ms", "compiled in, s"),
)


def _row(case: Case, batch: int, found: Cost, bare: Cost) -> tuple[str, ...]:
    return (
        case.victim,
        case.name,
        str(batch),
        f"{found.flops / batch / 1e9:.1f}",
        f"{found.flops / bare.flops:.2f}",
        f"{found.accessed / batch / 2**20:,.0f}",
        f"{found.accessed / bare.accessed:.2f}",
        f"{found.memory / 2**20:,.0f}",
        f"{1e3 * found.roofline:.1f}",
        f"{found.seconds:.0f}",
    )


def _write(path: Path, rows: Sequence[tuple[str, ...]]) -> None:
    from jaxadv.experiments.environment import versions

    title = f"Compiled for one chip of {CHIP}"
    held = {"title": title, "columns": COLUMNS, "rows": rows, "notes": ()}
    record = {
        "tables": [held],
        "command": " ".join(["python -m benchmarks.ahead_of_time", *sys.argv[1:]]),
        "measured": time.strftime("%Y-%m-%d"),
        "machine": f"no TPU: {CHIP}'s compiler on {os.cpu_count()} CPU cores",
        "versions": {**versions(), "libtpu": version("libtpu")},
    }
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
