"""`jaxadv victims`: what can be attacked."""

from typing import Annotated

import typer

from jaxadv.cli.console import fail, print_table


def victims(
    available: Annotated[
        bool,
        typer.Option("--available", help="List public checkpoints that fit; fetches nothing."),
    ] = False,
) -> None:
    """List the victims that are here, and the architectures that checkpoints can be ported to."""
    from jaxadv.victims import zoo
    from jaxadv.victims.architectures import PUBLISHED, VictimError
    from jaxadv.victims.public import CHECKPOINTS

    if available:
        columns = ["file", "ported to", "offered at", "SHA-256 begins"]
        print_table("Public checkpoints", columns, [list(c) for c in CHECKPOINTS])
        return
    rows = []
    for name, folder in zoo.installed().items():
        try:
            made, _, record = zoo.read_record(folder)
        except VictimError as problem:
            fail(str(problem))
            continue
        rows.append([name, made.kind, made.parts, record.get("source", ""), folder.parent])
    print_table("Victims", ["name", "kind", "made of", "made by", "folder"], rows)
    known = [[name, a.kind, a.parts, a.image_shape[0]] for name, a in PUBLISHED.items()]
    print_table("Architectures", ["name", "kind", "made of", "image side"], known)
