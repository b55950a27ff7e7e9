"""`jaxadv attack`: fool a victim on given pictures."""

import typer

from jaxadv.cli.attack_caption import caption
from jaxadv.cli.attack_labels import labels
from jaxadv.cli.attack_retrieval import retrieval

app = typer.Typer(no_args_is_help=True, help="Fool a victim on given pictures.")
app.command("caption")(caption)
app.command("labels")(labels)
app.command("retrieval")(retrieval)


@app.callback()
def _main() -> None:
    pass
