"""`python -m jaxadv` is `jaxadv`."""

from jaxadv.cli.main import run

if __name__ == "__main__":
    run()
