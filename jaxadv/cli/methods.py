"""The options of commands that run methods, from the methods' own declarations.

They are read when such a command is first used, because the declarations are in the attacks' files,
which import JAX, and `jaxadv --help` is not to wait for that.
"""

import inspect
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer
from typer.core import TyperCommand

from jaxadv.cli.console import note
from jaxadv.cli.options import check_parameter, given
from jaxadv.errors import InputError

if TYPE_CHECKING:
    from jaxadv.core.method import Chosen, Method

_GIVEN = "jaxadv.cli.methods"


class _Command(TyperCommand):
    """A command with the options of a family's methods and its own.

    Attributes:
      family: the module whose `METHODS` they are of.
      own: options of methods that the command declares itself.
      old: options as they were called before, for one version, and as they are called now.
    """

    family = ""
    own: Collection[str] = ()
    old: Mapping[str, str] = MappingProxyType({})

    @cached_property
    def _extra(self) -> list[Any]:
        extra = _parameters(import_module(self.family).METHODS, self.own, self.old)
        for parameter in extra:
            parameter.callback = check_parameter
        return extra

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the command's parameters, those of the methods before the help."""
        *own, last = super().get_params(ctx)
        return [*own, *self._extra, last]

    def invoke(self, ctx: Any) -> Any:
        """Call the command; it finds the methods' options by `chosen`."""
        names = [parameter.name for parameter in self._extra]
        values = {name: ctx.params.pop(name) for name in names}
        for old, new in self.old.items():
            value = values.pop(old, None)
            if value is not None:
                note(f"--{old}: is called --{new} now")
                values[new] = value if values[new] is None else values[new]
        ctx.meta[_GIVEN] = {name: value for name, value in values.items() if value is not None}
        return super().invoke(ctx)


def with_options_of(
    family: str, own: Collection[str] = (), old: Mapping[str, str] = MappingProxyType({})
) -> type[TyperCommand]:
    """Return the class of a command that takes the options of a family's methods.

    Args:
      family: the module whose `METHODS` they are of.
      own: options of methods that the command declares itself.
      old: options as they were called before, for one version, and as they are called now.
    """
    return type("MethodCommand", (_Command,), {"family": family, "own": own, "old": old})


def chosen(
    context: typer.Context, methods: Sequence["Method"], names: Sequence[str], **own: Any
) -> list["Chosen"]:
    """Choose methods by their names, each with those of the given options that it reads.

    Args:
      context: the command's.
      methods: the family's.
      names: of those that are run.
      own: options that the command declares itself; None where they are not given.

    Raises:
      InputError: an unknown method, a value out of range, or an option that none of them reads.
    """
    from jaxadv import checks
    from jaxadv.core.method import Chosen, abouts, choose

    options = {**context.meta[_GIVEN], **{k: v for k, v in own.items() if v is not None}}
    known = {method.name: method for method in methods}
    found = []
    for name in dict.fromkeys(names):
        checks.one_of("--method", name, known)
        mine = {key: value for key, value in options.items() if key in abouts(known[name])}
        bare = Chosen(known[name], known[name].options(**mine))
        read = {key: value for key, value in mine.items() if bare.reads(key)}
        found.append((bare, choose(methods, name, **read)))
    for key in options:
        if not any(bare.reads(key) for bare, _ in found):
            raise InputError(_unread(_flag(context, key), key, methods, [b for b, _ in found]))
    return [one for _, one in found]


def _unread(flag: str, key: str, methods: Sequence["Method"], found: Sequence["Chosen"]) -> str:
    from jaxadv.core.method import GIVEN, abouts

    for one in found:
        about = abouts(one.method).get(key)
        if about is not None and about.only:
            other, wanted = about.only
            if wanted is GIVEN:
                return f"{flag}: is not read without --{other}"
            return (
                f"{flag}: is not read with --{other} {one.value(other)}; it is for "
                f"--{other} {wanted}"
            )
    readers = [method.name for method in methods if key in abouts(method)]
    names = " and ".join(one.name for one in found)
    return f"{flag}: is not read with {names}; it is for {' or '.join(readers)}"


def _flag(context: typer.Context, key: str) -> str:
    for parameter in given(context):
        if parameter.name == key:
            off = context.meta[_GIVEN].get(key) is False and parameter.secondary_opts
            return str((off or parameter.opts)[0])
    return f"--{key.replace('_', '-')}"


def _parameters(
    methods: Sequence["Method"], own: Collection[str], older: Mapping[str, str]
) -> list[Any]:
    """Have Typer make a parameter of each option of the methods."""
    from jaxadv.core.method import abouts, defaults, describe, kinds

    signature = []
    for name in dict.fromkeys(key for method in methods for key in kinds(method)):
        if name in own:
            continue
        (method, *_) = [one for one in methods if name in kinds(one)]
        flag = f"--{name.replace('_', '-')}"
        kind = _plain(kinds(method)[name])
        if kind is bool:
            off = abouts(method)[name].off or f"--no-{name.replace('_', '-')}"
            flag = f"{flag}/{off}" if defaults(method)[name] else flag
        option = typer.Option(flag, help=describe(name, methods), show_default=False)
        signature.append(_parameter(name, kind, option))
    kinds_of = {parameter.name: parameter.annotation for parameter in signature}
    for old, new in older.items():
        kind = get_args(get_args(kinds_of[new])[0])[0]
        signature.append(_parameter(old, kind, typer.Option(f"--{old}", hidden=True)))

    def declared(**options: Any) -> None: ...

    declared.__signature__ = inspect.Signature(signature)  # type: ignore[attr-defined]
    declared.__annotations__ = {p.name: p.annotation for p in signature}
    app = typer.Typer(add_completion=False)
    app.command()(declared)
    command: Any = typer.main.get_command(app)
    return list(command.params)


def _parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    annotation = Annotated[kind | None, option]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


def _plain(kind: Any) -> Any:
    """Return the type that Typer reads: words by their `Literal` are checked by `choose`."""
    if isinstance(kind, UnionType):
        (kind,) = (one for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:
        return str
    return kind
