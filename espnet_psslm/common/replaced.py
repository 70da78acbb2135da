"""Another value for an attribute, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Within it an attribute has another value: ESPnet's trainer names what it calls itself.

    Args:
        owner: module, class or object.
        name: of its attribute.
        value: for as long as the context lasts.
    """
    own = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, own)
