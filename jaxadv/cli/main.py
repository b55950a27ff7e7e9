"""The command line: parses, calls the library, prints."""

import sys

import typer

from jaxadv import __version__
from jaxadv.cli import (
    attack,
    backdoor,
    bench,
    caption,
    data,
    demo,
    doctor,
    evaluate,
    label,
    port,
    retrieve,
    sweep,
    table,
    train,
    victims,
)
from jaxadv.cli.compiler import choose_kernels, enable_compilation_cache
from jaxadv.cli.console import fail
from jaxadv.errors import InputError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Adversarial attacks on vision models with structured outputs, in JAX.",
    epilog="Start with: jaxadv demo",
)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("bench")(bench.bench)
app.command("victims")(victims.victims)
app.command("caption")(caption.caption)
app.command("label")(label.label)
app.command("retrieve")(retrieve.retrieve)
app.command("port")(port.port)
app.command("table")(table.table)
app.command("poison")(backdoor.poison)
evaluate.app.command("backdoor")(backdoor.evaluate_backdoor)
evaluate.app.command("defences")(backdoor.evaluate_defences)
app.add_typer(attack.app, name="attack")
app.add_typer(train.app, name="train")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(data.app, name="data")
app.add_typer(sweep.app, name="sweep")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"jaxadv {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    choose_kernels()
    enable_compilation_cache()


def run() -> None:
    """Run the command line; a wrong input is one line and exit code 2."""
    try:
        app()
    except InputError as problem:
        fail(str(problem))
        sys.exit(2)
