"""A sweep on a Ray cluster: a worker a device, pieces of work that any of them can make.

The driver holds no device and no pictures. It asks the first worker which attacks there are, gives
pieces to free workers, and records what comes back. A worker loads a victim and its pictures
where it is, keeps its compiled programs, and takes pieces of the cell that it knows best. When a
worker is lost, with its process or its node, its piece is made by another one and a new worker is
started where there is room. A driver that is started again makes what is not recorded.
"""

import logging
import os
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxadv.errors import InputError
from jaxadv.experiments import store
from jaxadv.experiments.cells import Cell
from jaxadv.experiments.ledger import Ledger, Made, Pictures, Progress
from jaxadv.experiments.pieces import MOST_LOSSES, Lost, Piece, Pieces, cut

if TYPE_CHECKING:
    from jaxadv.experiments.sweep import Prepared

RUNNING = "auto"
"""The address of the cluster that this machine is in: `$RAY_ADDRESS`, or what `ray start` began."""
HERE = "local"
"""The address of a cluster of this machine alone, which is started and ended with the sweep."""
SECONDS = 1.0  # between two looks at which nodes there are
COMPILING = ("XLA_FLAGS", "JAX_COMPILATION_CACHE_DIR")
"""What of the driver's environment holds for its workers, which then compile the same programs."""


class Group(NamedTuple):
    """Cells that share their attacks, in plain data.

    Attributes:
      cells: their digests, the longest attack's last.
      attacks: the digest of what is attacked, a cell.
      weights: the digest of their victim's weights.
      victim: their victim.
      title: what they are called.
      ids: the attacks' numbers, in the order in which they are made.
    """

    cells: tuple[str, ...]
    attacks: tuple[str, ...]
    weights: str
    victim: str
    title: str
    ids: tuple[int, ...]


class Problem(NamedTuple):
    """Why a worker cannot continue: an error as text, which would travel badly as an exception."""

    message: str


class Plan(NamedTuple):
    """What a sweep is made of, and how many attacks a worker makes at once."""

    groups: list[Group]
    slots: int


class Worker:
    """What an actor does; it holds at most one victim.

    Args:
      cells: of the sweep.
      folder: where the driver was started, for relative paths.
    """

    def __init__(self, cells: Sequence[Cell], folder: str) -> None:
        """Go where the driver is; nothing is loaded yet."""
        if Path(folder).is_dir():
            os.chdir(folder)
        self._cells = cells
        self._held: dict[str, list[Prepared]] = {}  # by the last cell's digest
        self._victim = ""

    def start(self) -> None:
        """Return, which tells that the worker runs."""

    def plan(self, slots: int | None) -> Plan | Problem:
        """Return what there is to attack; with no number of slots, as many as fit."""
        from jaxadv.experiments.devices import over_local_devices
        from jaxadv.experiments.sweep import alike, attacks_digest, fit_slots, prepare, title

        try:
            prepared = prepare(self._cells)
            slots = slots or _devices() * fit_slots(prepared).batch
        except InputError as problem:
            return Problem(str(problem))
        most = max(len(one.job.planned) for one in prepared) or 1
        groups = [
            Group(
                cells=tuple(one.cell.digest for one in some),
                attacks=tuple(attacks_digest(one.job) for one in some),
                weights=some[-1].weights,
                victim=some[-1].cell.victim,
                title=title(some),
                ids=tuple(planned.id for planned in some[-1].job.planned),
            )
            for some in alike(prepared)
        ]
        self._hold(prepared[0].cell.victim, prepared)
        return Plan(groups, over_local_devices(min(slots, most))[1])

    def make(
        self, piece: Piece, group: Group, left: frozenset[store.Key], slots: int, pictures: bool
    ) -> list[Made] | Problem:
        """Make the attacks of a piece that are left."""
        from jaxadv.experiments.devices import over_local_devices
        from jaxadv.experiments.sweep import make

        try:
            some = self._prepared(piece, group)
            sharding, _ = over_local_devices(slots)
            made = [
                one if pictures else Made(one.row)
                for one in make(some, left, slots=slots, sharding=sharding)
                if isinstance(one, Made)
            ]
        except InputError as problem:
            return Problem(f"worker on {socket.gethostname()}: {problem}")
        return made

    def _prepared(self, piece: Piece, group: Group) -> "list[Prepared]":
        """Load the victim of a piece, in place of the one before.

        Raises:
          InputError: it has other weights here, or other pictures.
        """
        from jaxadv.experiments.sweep import attacks_digest, prepare

        if self._victim != piece.victim:
            self._held.clear()
            self._hold(piece.victim, prepare([c for c in self._cells if c.victim == piece.victim]))
        some = self._held[piece.cell]
        if some[-1].weights != group.weights:
            raise InputError(f"victim {piece.victim!r} has other weights here")
        if tuple(attacks_digest(one.job) for one in some) != group.attacks:
            raise InputError(
                f"chooses other attacks on {piece.victim!r} than the first worker: its pictures, "
                "or what its device computes, differ"
            )
        return some

    def _hold(self, victim: str, prepared: "Sequence[Prepared]") -> None:
        from jaxadv.experiments.sweep import alike

        own = [one for one in prepared if one.cell.victim == victim]
        self._held = {some[-1].cell.digest: some for some in alike(own)}
        self._victim = victim


def _devices() -> int:
    import jax

    return len(jax.local_devices())


class _Crew:
    """The workers that there are, by number: as many as there is room for.

    Args:
      ray: the module.
      actor: the class of actors.
      arguments: of an actor.
      needs: what one takes of its node.
    """

    def __init__(
        self, ray: Any, actor: Any, arguments: Sequence[Any], needs: Mapping[str, float]
    ) -> None:
        """Start nobody yet."""
        self._ray, self._actor, self._arguments, self._needs = ray, actor, arguments, needs
        self._actors: dict[int, Any] = {}
        self._starting: dict[Any, int] = {}  # by what `start` will return
        self._busy: dict[Any, int] = {}  # by what they were asked for
        self._started = 0
        self._lost_at_start = 0
        self.free: list[int] = []

    def __len__(self) -> int:
        """Return how many workers there are, those that are starting among them."""
        return len(self._actors)

    def room(self) -> int:
        """Return how many workers fit the nodes that there are."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return sum(
            int(min(have.get(name, 0.0) / wanted for name, wanted in self._needs.items()))
            for have in nodes
        )

    def hire(self) -> None:
        """Start workers where there is room."""
        for _ in range(self.room() - len(self)):
            self._started += 1
            actor = self._actors[self._started] = self._actor.remote(*self._arguments)
            self._starting[actor.start.remote()] = self._started

    def ask(self, worker: int, method: str, *arguments: Any) -> None:
        """Ask a free worker for something; `wait` returns what comes of it."""
        self.free.remove(worker)
        self._busy[getattr(self._actors[worker], method).remote(*arguments)] = worker

    def wait(self) -> tuple[dict[int, Any], list[int]]:
        """Wait a little; return what workers came to, and who was lost on the way.

        Raises:
          Lost: no worker starts.
        """
        found: dict[int, Any] = {}
        lost: list[int] = []
        futures = [*self._starting, *self._busy]
        if not futures:
            time.sleep(SECONDS)
            return found, lost
        ready, _ = self._ray.wait(futures, timeout=SECONDS)
        for future in ready:
            starting = future in self._starting
            worker = (self._starting if starting else self._busy).pop(future)
            try:
                value = self._ray.get(future)
            except self._ray.exceptions.RayTaskError:
                raise  # a fault of the program, with the worker's traceback
            except self._ray.exceptions.RayError as problem:
                self._lose(worker, starting, problem)
                lost.append(worker)
                continue
            self.free.append(worker)
            if not starting:
                found[worker] = value
        return found, lost

    def _lose(self, worker: int, starting: bool, problem: Exception) -> None:
        actor = self._actors.pop(worker)
        self._ray.kill(actor)  # what is lost may only be out of reach
        self._lost_at_start = self._lost_at_start + 1 if starting else 0
        if self._lost_at_start >= MOST_LOSSES:
            reason = str(problem).splitlines()[0]
            raise Lost(f"{MOST_LOSSES} workers in a row were lost as they started ({reason})")

    def dismiss(self) -> None:
        """End all of them."""
        for actor in self._actors.values():
            self._ray.kill(actor)


def sweep_on_ray(
    cells: Sequence[Cell],
    folder: Path,
    *,
    address: str = RUNNING,
    devices: int = 1,
    slots: int | None = 50,
    pictures: Pictures = "none",
    file: str = "",
) -> Iterator[Progress]:
    """Make every attack that is not recorded in the folder yet on a Ray cluster, and record it.

    The rows are those of `sweep.sweep` on the same kind of device, whatever workers come and go.
    What is under way is not kept: a piece whose worker is lost begins again.

    Args:
      cells: of the sweep.
      folder: of the records; a sweep that it holds is continued.
      address: of the cluster, `RUNNING` or `HERE`; a process that has joined one stays there.
      devices: that a worker spreads its slots over: GPUs where the cluster has some, TPUs' chips
        where it has those, else CPU cores.
      slots: attacks that a worker makes at once; None for as many as fit its devices.
      pictures: whether pictures are kept, benign and adversarial: 8-bit PNG or float32 `.npy`.
      file: the sweep file that the cells are from (`store.write_plan`).

    Raises:
      InputError: the cluster is not there or has no room for a worker; a worker that cannot load
        what the others can; a piece that loses one worker after the other.
      StoreError: the folder cannot be written, or holds records of other weights.
    """
    try:
        import ray
    except ImportError:
        raise InputError("a sweep on Ray: pip install 'jaxadv[ray]' brings `ray`") from None
    joined = ray.is_initialized()
    if not joined:
        _join(ray, address)
    try:
        crew = _crew(ray, cells, devices)
        try:
            yield from _drive(crew, cells, folder, slots, pictures, file)
        except Lost as problem:
            raise InputError(f"--ray: {problem}; what was recorded is whole") from None
        finally:
            crew.dismiss()
    finally:
        if not joined:
            ray.shutdown()


def _join(ray: Any, address: str) -> None:
    """Join a cluster, or start one.

    Raises:
      InputError: there is none at that address.
    """
    only_here = {"include_dashboard": False} if address == HERE else {}
    try:
        host, _, port = address.rpartition(":")
        if port.isdecimal() and "://" not in host:  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        with warnings.catch_warnings():
            # nodes are started by fork and exec: what JAX warns of is a child that continues
            warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **only_here)
    except (OSError, OverflowError, ValueError, RuntimeError) as problem:
        reason = str(problem).splitlines()[0]
        raise InputError(f"--ray {address}: no cluster answers there ({reason})") from None


def _crew(ray: Any, cells: Sequence[Cell], devices: int) -> _Crew:
    have = ray.cluster_resources()
    kind = next((name for name in ("GPU", "TPU") if have.get(name)), "CPU")
    wanted: dict[str, float] = {kind: devices}
    options: dict[str, Any] = {"num_cpus": devices if kind == "CPU" else 0}
    if kind == "GPU":
        options["num_gpus"] = devices
    elif kind == "TPU":
        options["resources"] = wanted
    environment = {name: os.environ[name] for name in COMPILING if name in os.environ}
    options["runtime_env"] = {"env_vars": environment}
    arguments = (list(cells), str(Path.cwd()))
    crew = _Crew(ray, ray.remote(**options)(Worker), arguments, wanted)
    if not crew.room():
        what = f"{devices} {kind}" + ("s" if devices > 1 else "")
        raise InputError(f"--devices-per-worker {devices}: no node of the cluster has {what}")
    return crew


def _drive(
    crew: _Crew,
    cells: Sequence[Cell],
    folder: Path,
    slots: int | None,
    pictures: Pictures,
    file: str,
) -> Iterator[Progress]:
    plan = _plan(crew, slots)
    groups = {group.cells[-1]: group for group in plan.groups}
    digests = {
        digest: (group.weights, attacks)
        for group in plan.groups
        for digest, attacks in zip(group.cells, group.attacks, strict=True)
    }
    store.write_plan(folder, [(cell, *digests[cell.digest]) for cell in cells], file)
    keys = (key for one in plan.groups for key in _keys(one, one.ids))
    with Ledger(folder, keys, pictures) as ledger:
        yield ledger.progress("starting")
        pieces = Pieces(
            piece
            for cell, group in groups.items()
            for piece in cut(cell, group.victim, group.ids, plan.slots)
            if any(key in ledger.left for key in _keys(group, piece.ids))
        )
        while pieces:
            crew.hire()
            for worker in tuple(crew.free):
                if piece := pieces.next(worker):
                    group = groups[piece.cell]
                    left = ledger.left.intersection(_keys(group, piece.ids))
                    crew.ask(worker, "make", piece, group, left, plan.slots, pictures != "none")
            found, lost = crew.wait()
            if not len(crew):
                yield ledger.progress("waiting for a node with room")
            for worker in lost:
                pieces.lost(worker)
            for worker, made in found.items():
                group = groups[pieces.made(worker).cell]
                for one in _good(made):
                    ledger.record(one)
                many = f"{len(crew)} worker" + ("s" if len(crew) > 1 else "")
                yield ledger.progress(f"{group.title}, {many}")


def _plan(crew: _Crew, slots: int | None) -> Plan:
    """Ask a worker what there is to attack; another one where it is lost."""
    asked = None
    for _ in range(MOST_LOSSES):
        while not crew.free:
            crew.hire()
            crew.wait()
        asked = crew.free[0]
        crew.ask(asked, "plan", slots)
        while True:
            crew.hire()
            found, lost = crew.wait()
            if asked in found:
                plan: Plan = _good(found[asked])
                return plan
            if asked in lost:
                break
    raise Lost(f"{MOST_LOSSES} workers were lost while they chose targets")


def _good(answer: Any) -> Any:
    """Return what a worker came to.

    Raises:
      InputError: it says what is wrong.
    """
    if isinstance(answer, Problem):
        raise InputError(answer.message)
    return answer


def _keys(group: Group, ids: Sequence[int]) -> Iterator[store.Key]:
    return ((digest, number) for digest in group.cells for number in ids)
