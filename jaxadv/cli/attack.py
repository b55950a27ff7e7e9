"""`jaxadv attack`: fool a victim on given pictures."""

import typer

from jaxadv.cli.attack_caption import caption
from jaxadv.cli.attack_labels import labels
from jaxadv.cli.attack_retrieval import retrieval
from jaxadv.cli.methods import with_options_of

app = typer.Typer(no_args_is_help=True, help="Fool a victim on given pictures.")
app.command(
    "caption", cls=with_options_of("jaxadv.captions.methods", old={"rounds": "iterations"})
)(caption)
app.command("labels", cls=with_options_of("jaxadv.labels.methods"))(labels)
app.command("retrieval", cls=with_options_of("jaxadv.hashing.methods", own=("modality",)))(
    retrieval
)


@app.callback()
def _main() -> None:
    pass
