"""The command line: parses, calls the library, prints."""

import os
import sys
from functools import cache
from typing import Any

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
    report,
    retrieve,
    sweep,
    table,
    train,
    victims,
)
from jaxadv.cli.compiler import choose_kernels, enable_compilation_cache
from jaxadv.cli.console import close_streams, fail, note, prepare_streams, print_log
from jaxadv.cli.examples import show_examples
from jaxadv.cli.options import check_values, refuse_empty
from jaxadv.errors import InputError

STOPPED = 130  # as shells say that Ctrl-C ended a command

_UsageError: Any = typer.BadParameter.__mro__[2]  # of the click that Typer brings, or of another

START, PREDICT, MEASURE, MAKE, HERE = (
    "Start here",
    "What a victim predicts",
    "Measurements",
    "Victims and data",
    "This installation",
)

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Adversarial attacks on vision models with structured outputs, in JAX: captions that you "
    "choose, labels that vanish, pictures that retrieve the wrong things, backdoors in captioners.",
    epilog="Start with: jaxadv demo",
)
app.command("demo", rich_help_panel=START)(demo.demo)
app.command("caption", rich_help_panel=START)(caption.caption)
app.add_typer(attack.app, name="attack", rich_help_panel=START)
app.command("label", rich_help_panel=PREDICT)(label.label)
app.command("retrieve", rich_help_panel=PREDICT)(retrieve.retrieve)
evaluate.app.command("backdoor")(backdoor.evaluate_backdoor)
evaluate.app.command("defences")(backdoor.evaluate_defences)
app.add_typer(evaluate.app, name="evaluate", rich_help_panel=MEASURE)
app.add_typer(sweep.app, name="sweep", rich_help_panel=MEASURE)
app.command("table", rich_help_panel=MEASURE)(table.table)
app.command("report", rich_help_panel=MEASURE)(report.report)
app.command("bench", rich_help_panel=MEASURE)(bench.bench)
app.command("victims", rich_help_panel=MAKE)(victims.victims)
app.add_typer(train.app, name="train", rich_help_panel=MAKE)
app.command("port", rich_help_panel=MAKE)(port.port)
app.command("poison", rich_help_panel=MAKE)(backdoor.poison)
app.add_typer(data.app, name="data", rich_help_panel=MAKE)
app.command("doctor", rich_help_panel=HERE)(doctor.doctor)


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


@cache
def build() -> Any:
    """Return the whole command, whose parameters check their values and whose help has examples."""
    command = typer.main.get_command(app)
    check_values(command)
    show_examples(command)
    return command


def run() -> None:
    """Run the command line; a wrong input is one line and exit code 2, Ctrl-C one and 130."""
    prepare_streams()
    print_log()
    code = _run(sys.argv[1:])
    close_streams()
    sys.exit(code)


def _run(words: list[str]) -> int:
    try:
        refuse_empty(words)
        # Typer's own exceptions are printed here, on one line and never as markup
        code = build()(words, prog_name="jaxadv", standalone_mode=False)
    except InputError as problem:
        return _failed(str(problem))
    except BrokenPipeError:
        return 1  # the reader of the output has gone
    except OSError as problem:
        what = "reading or writing" if problem.filename is None else problem.filename
        return _failed(f"{what}: {problem.strerror or 'failed'}")
    except MemoryError:
        return _failed("out of memory: try a smaller --batch, or fewer or smaller files")
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except RuntimeError as problem:
        return _failed(_device_fault(problem))
    except Exception as problem:
        if not isinstance(problem, _UsageError):
            raise
        return _misused(problem)
    if code == STOPPED:
        note("stopped")
    return code or 0


def _failed(line: str) -> int:
    fail(line)
    return 2


def _misused(problem: Any) -> int:
    """Say what is wrong with the words of a command line, and where its help is."""
    if type(problem).__name__ == "NoArgsIsHelpError":
        problem.show()
        return 2
    context = problem.ctx
    said = " ".join(problem.format_message().split())
    hint = "" if context is None else f" (see {context.command_path} --help)"
    return _failed(f"{said}{hint}")


def _device_fault(problem: RuntimeError) -> str:
    """Say what the machine lacks: a device, room on it, a home; raise anything else."""
    said = str(problem)
    if "Unable to initialize backend" in said or "Unknown backend" in said:
        chosen = os.environ.get("JAX_PLATFORMS", "")
        return f"JAX_PLATFORMS={chosen}: JAX finds no such device; unset it, or give cpu"
    if "home directory" in said:
        return "there is no home folder: set HOME to a folder that you may write to"
    if "RESOURCE_EXHAUSTED" in said:
        return "the device is out of memory: try a smaller --batch"
    raise problem
