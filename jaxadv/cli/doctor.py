"""`jaxadv doctor`: what is here."""

from jaxadv.cli.console import console
from jaxadv.formats.files import user_cache


def doctor() -> None:
    """Show devices, versions, the cache folder and the installed victims."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import jax

    from jaxadv import __version__
    from jaxadv.victims import zoo

    def line(what: str, found: str) -> None:
        console.print(f"{what:>19}  {found}")

    line("jaxadv", __version__)
    line("python", platform.python_version())
    for package in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy"):
        line(package, version(package))
    for package in ("tensorflow-datasets", "torch"):
        try:
            line(package, f"{version(package)} (optional)")
        except PackageNotFoundError:
            line(package, "not installed (optional)")
    for device in jax.devices():
        line("device", f"{device.device_kind} ({device.platform}:{device.id})")
    line("cache", str(user_cache("compiled") or "none: no home folder, so all is compiled again"))
    found = zoo.installed()
    if not found:
        line("victims", "none: train one with jaxadv train captioner")
    for name, folder in found.items():
        line("victim", f"{name}  ({folder})")
