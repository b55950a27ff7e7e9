"""How a method declares itself, in its attack's file: its options, and how it is made and run.

From a declaration come the command line's options and their help, the keys of sweep files, the
checks of ranges, the defaults, the tables of the documentation and what a sweep's records say.
"""

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from jaxadv import checks
from jaxadv.core.attack import Attack
from jaxadv.core.constraints import Constraint, ball
from jaxadv.core.norms import Norm
from jaxadv.core.precision import Arithmetic, attack_in
from jaxadv.core.run import Iterate, Result
from jaxadv.errors import InputError
from jaxadv.formats.errors import quoted

Check = Callable[[str, Any], None]
"""`(name, value)`, raises an `InputError` for a value outside its range."""


GIVEN = object()
"""Stands for any value of an option but None (`About.only`)."""


class About(NamedTuple):
    """What is known of an option; its type and its default, the paper's value, are the field's.

    Attributes:
      help: what it is, in a few words.
      symbol: in the paper; empty where it has none.
      check: of a number's range.
      only: another option and the value of it with which this one is read, which may be `GIVEN`;
        None if always.
      column: its name in records, where that is not its own.
      off: of a switch that is on by default, the command line's word for turning it off.
      driver: whether the driver reads it alone, so that it makes no other attack.
    """

    help: str
    symbol: str = ""
    check: Check | None = None
    only: tuple[str, Any] | None = None
    column: str = ""
    off: str = ""
    driver: bool = False


def option(
    default: Any,
    text: str,
    *,
    symbol: str = "",
    check: Check | None = None,
    only: tuple[str, Any] | None = None,
    column: str = "",
    off: str = "",
    driver: bool = False,
) -> Any:
    """Declare a field of an `Options` class; the arguments are `About`'s."""
    about = About(text, symbol, check, only, column, off, driver)
    return dataclasses.field(default=default, metadata={"about": about})


steps: Check = partial(checks.whole, least=1, most=checks.MOST_STEPS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What a method can be told: a base of classes whose fields are each an `option`."""


_PRECISION = "float32, tf32, bfloat16 or bfloat16-decoder"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackOptions(Options):
    """What every attack can be told.

    Attributes:
      arithmetic: of the victim while it is attacked.
      judged: of the victim that says whether a picture fools it.
    """

    arithmetic: Arithmetic = option("float32", f"of the attacked victim: {_PRECISION}")
    judged: Arithmetic = option("float32", f"of the victim that judges: {_PRECISION}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class InABall(AttackOptions):
    """What every attack that descends on a picture reads, with the paper's penalised form.

    Attributes:
      epsilon: the radius of a ball that the perturbation keeps to; None for none.
      norm: the ball's.
    """

    epsilon: float | None = option(
        None,
        "keep to a ball of this radius, of pixels in [0, 1]",
        symbol="ε",
        check=checks.positive,
    )
    norm: Norm = option(
        "linf",
        "norm of the ball: l1, l2 or linf",
        only=("epsilon", GIVEN),
        column="epsilon_norm",
    )


def in_ball(options: InABall, plain: Constraint, unit: float = 1.0) -> Constraint:
    """Return a method's own constraint, or the ball that its options ask for.

    Args:
      options: the method's.
      plain: its constraint where no ball is asked for.
      unit: of `plain`'s coordinates (`constraints.ball`), so that a learning rate means the same.
    """
    if options.epsilon is None:
        return plain
    return ball(options.epsilon * unit, options.norm, unit=unit)


class Method(NamedTuple):
    """An attack by name.

    Attributes:
      name: as it is written on the command line and in sweep files.
      options: a frozen dataclass, a subclass of `Options` whose fields are each an `option`.
      make: `(victim, options) -> Attack`; of a backdoor, its trigger.
      iterations: `options -> ` the most steps.
      reports: which picture counts: the last, or the best that fooled the victim.
      aims_at: `options -> ` what a target is, in the words of the family.
      check: of options that do not go together.
      derived: of options that are None by default, the name and `options -> ` what None stands for.
      with_bank: of an attack that uses pictures other than the one it attacks: `(victim, params,
        pictures) -> ` what it takes in place of the victim's parameters.
    """

    name: str
    options: type[Options]
    make: Callable[[Any, Any], Any]
    iterations: Callable[[Any], int]
    reports: Literal["final", "best"] = "final"
    aims_at: Callable[[Any], str] = lambda options: ""
    check: Callable[[Any], None] = lambda options: None
    derived: tuple[tuple[str, Callable[[Any], Any]], ...] = ()
    with_bank: Callable[[Any, Any, Any], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Chosen:
    """A method with its options.

    Attributes:
      method: the method.
      options: its options; one that is None stands for what `Method.derived` gives.
    """

    method: Method
    options: Options

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method.name

    @property
    def used(self) -> dict[str, Any]:
        """The method and every option that it reads, by name; one that is None is left out.

        The arithmetics stand last.
        """
        known = abouts(self.method)
        common = [name for name in ("arithmetic", "judged") if name in known]
        names = [name for name in known if name not in common] + common
        read = {known[n].column or n: self.value(n) for n in names if self.reads(n)}
        return {"method": self.name, **{n: value for n, value in read.items() if value is not None}}

    def reads(self, name: str) -> bool:
        """Return whether the method reads an option, as the others are set."""
        about = abouts(self.method).get(name)
        if about is None or about.only is None:
            return about is not None
        other, wanted = about.only
        return self.value(other) is not None if wanted is GIVEN else self.value(other) == wanted

    def value(self, name: str) -> Any:
        """Return an option's value."""
        value, derived = getattr(self.options, name), dict(self.method.derived)
        return derived[name](self.options) if value is None and name in derived else value

    @property
    def iterations(self) -> int:
        """The most steps of an attack."""
        return self.method.iterations(self.options)

    @property
    def aims_at(self) -> str:
        """What a target is, in the words of the family."""
        return self.method.aims_at(self.options)

    def attack(self, victim: Any) -> Attack:
        """Build the attack on a victim's functions; the same one again, so that it compiles once.

        Methods that differ in what the driver reads alone, such as `iterations`, share an attack.

        Raises:
          InputError: a victim of another kind.
        """
        own, known = defaults(self.method), abouts(self.method)
        alike = {name: own[name] for name, about in known.items() if about.driver}
        return _attack(Chosen(self.method, dataclasses.replace(self.options, **alike)), victim)

    def report(self, result: Result) -> Iterate:
        """Choose the picture that the method reports."""
        return result.final if self.method.reports == "final" else result.best

    def but(self, **given: Any) -> "Chosen":
        """Return the same method with other options.

        Raises:
          InputError: as `choose`.
        """
        return choose([self.method], self.name, **{**dataclasses.asdict(self.options), **given})


@cache
def _attack(chosen: Chosen, victim: Any) -> Attack:
    options: Any = chosen.options
    make = partial(_make, chosen.method, options)
    make(victim)  # refuses a victim of another kind, in words
    return attack_in(options.arithmetic, options.judged, make, victim)


def _make(method: Method, options: Options, victim: Any) -> Attack:
    attack: Attack = method.make(victim, options)
    return attack


def choose(methods: Sequence[Method], name: str, **given: Any) -> Chosen:
    """Choose a method by its name, with its options; what is not given is the paper's.

    Raises:
      InputError: an unknown method, an option that it does not read, or a value out of range.
    """
    known = {method.name: method for method in methods}
    checks.one_of("method", name, known)
    method = known[name]
    for key, value in given.items():
        if key not in abouts(method):
            raise InputError(f"{key}: {_not_read(key, name, methods)}")
        check_value(key, value, kinds(method)[key], abouts(method)[key])
    chosen = Chosen(method, method.options(**given))
    for key in given:
        about = abouts(method)[key]
        if about.only and not chosen.reads(key) and given[key] != defaults(method)[key]:
            other, wanted = about.only
            why = (
                f"without {other}"
                if wanted is GIVEN
                else f"with {other} {quoted(chosen.value(other))}"
            )
            raise InputError(f"{key}: is not read by {name} {why}")
    method.check(chosen.options)
    return chosen


def _not_read(key: str, name: str, methods: Sequence[Method]) -> str:
    readers = [method.name for method in methods if key in abouts(method)]
    if readers:
        return f"is not read by {name}; it is for {', '.join(readers)}"
    every = sorted({option for method in methods for option in abouts(method)})
    near = difflib.get_close_matches(key, every, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no option of {name}: {hint}these are {', '.join(every)}"


def check_value(name: str, value: Any, kind: Any, about: About | None = None) -> None:
    """Check a value against a field's type and its range; None where the type allows it.

    Raises:
      InputError: it is of another kind, or out of range.
    """
    alternatives = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    if value is None and NoneType in alternatives:
        return
    (accepted,) = (k for k in alternatives if k is not NoneType)
    if get_origin(accepted) is Literal:
        checks.one_of(name, value, get_args(accepted))
    elif accepted is bool:
        checks.true_or_false(name, value)
    elif about is not None and about.check is not None:
        about.check(name, value)
    elif accepted is float:
        checks.finite(name, value)
    elif accepted is str and (not isinstance(value, str) or not value.isprintable()):
        raise checks.wrong(name, value, "text, on one line")


@cache
def abouts(method: Method) -> Mapping[str, About]:
    """Return what is known of each option of a method, by name."""
    return {field.name: field.metadata["about"] for field in dataclasses.fields(method.options)}


@cache
def kinds(method: Method) -> Mapping[str, Any]:
    """Return the type of each option of a method, by name."""
    hints = get_type_hints(method.options)
    return {name: hints[name] for name in abouts(method)}


def defaults(method: Method) -> dict[str, Any]:
    """Return the paper's value of each option of a method, by name."""
    return {field.name: field.default for field in dataclasses.fields(method.options)}


def describe(name: str, methods: Sequence[Method]) -> str:
    """Write the help of an option: its symbol, what it is, who reads it and the papers' values."""
    readers = [method for method in methods if name in abouts(method)]
    by_help: dict[str, list[Method]] = {}
    for method in readers:
        by_help.setdefault(abouts(method)[name].help, []).append(method)
    return "; ".join(
        _line(name, text, some, everyone=len(readers) == len(methods) and len(by_help) == 1)
        for text, some in by_help.items()
    )


def _line(name: str, text: str, some: Sequence[Method], everyone: bool) -> str:
    whose = "" if everyone else f"{', '.join(method.name for method in some)}: "
    symbols = dict.fromkeys(abouts(method)[name].symbol for method in some)
    symbol = ", ".join(s for s in symbols if s)
    values = {method.name: written(defaults(method)[name]) for method in some}
    distinct = list(dict.fromkeys(values.values()))
    told = distinct[0] if len(distinct) == 1 else ", ".join(f"{m} {v}" for m, v in values.items())
    default = f" [{told}]" if told else ""
    return f"{whose}{symbol + ', ' if symbol else ''}{text}{default}"


def written(value: Any) -> str:
    """Write a default as a person reads it; nothing for None.

    >>> written(1e-4), written("clip"), written(True), written(None)
    ('0.0001', 'clip', 'yes', '')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_text(chosen: Chosen) -> str:
    """Write a method with what of it is not the paper's.

    >>> from jaxadv.captions.methods import METHODS
    >>> as_text(choose(METHODS, "gem", posterior="joint", iterations=9))
    'gem iterations=9 posterior=joint'
    """
    own = defaults(chosen.method)
    told = [
        f"{n}={written(v)}" for n, v in dataclasses.asdict(chosen.options).items() if v != own[n]
    ]
    return " ".join([chosen.name, *sorted(told)])
