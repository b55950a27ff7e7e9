"""What pytest does before it collects anything."""


def pytest_sessionstart() -> None:
    """Import the families, since pytest sets a module that it imports in its package.

    `jaxadv.hashing.cmla` would then be the module, not the attack of that name.
    """
    from jaxadv import backdoors, captions, hashing, labels

    assert all((backdoors, captions, hashing, labels))
