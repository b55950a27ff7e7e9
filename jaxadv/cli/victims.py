"""`jaxadv victims`: what can be attacked."""

from typing import Annotated

import typer

from jaxadv.cli.console import console, fail, print_table


def victims(
    available: Annotated[
        bool,
        typer.Option("--available", help="List public checkpoints that fit; fetches nothing."),
    ] = False,
) -> None:
    """List the victims that are here, and the architectures, of which most can be ported to."""
    from jaxadv.porting.port import is_known
    from jaxadv.victims import zoo
    from jaxadv.victims.architectures import PUBLISHED, VictimError
    from jaxadv.victims.public import CHECKPOINTS

    if available:
        for found in CHECKPOINTS:  # lines, as a table would cut addresses
            part = f" ({found.part})" if found.part else ""
            begins = f" (SHA-256 begins {found.sha256})" if found.sha256 else ""
            by_hand = "" if found.is_fetched else "by hand from "
            console.print(f"{found.name}: of the architecture {found.architecture}{part}")
            console.print(f"  {found.file}{begins}, {by_hand}{found.address}")
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
    known = [
        [name, made.kind, made.parts, made.image_shape[0], "yes" if is_known(made) else "no"]
        for name, made in PUBLISHED.items()
    ]
    columns = ["name", "kind", "made of", "image side", "can be ported"]
    print_table("Architectures", columns, known)
