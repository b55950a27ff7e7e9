"""`jaxadv victims`: what can be attacked."""

from jaxadv.cli.console import fail, print_table


def victims() -> None:
    """List the victims that are here, and the architectures that checkpoints can be ported to."""
    from jaxadv.victims import zoo

    rows = []
    for name, folder in zoo.installed().items():
        try:
            made, _, record = zoo.read_record(folder)
        except zoo.VictimError as problem:
            fail(str(problem))
            continue
        rows.append([name, made.decoder, made.backbone, record.get("source", ""), folder.parent])
    print_table("Victims", ["name", "decoder", "backbone", "made by", "folder"], rows)
    known = [[name, a.decoder, a.backbone, a.side] for name, a in zoo.PUBLISHED.items()]
    print_table("Architectures", ["name", "decoder", "backbone", "image side"], known)
