"""Options of what a configuration names: what is unknown or lacking is said in one way."""

import difflib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from espnet_psslm.common.errors import in_words


def nearest(name: object, known: Collection[str]) -> str | None:
    """The known name that was probably meant."""
    return next(iter(difflib.get_close_matches(str(name), known, n=1)), None)


def options_of(made: Callable, *, given: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """What a class can be told by a configuration: its keyword-only arguments.

    Args:
        made: the class.
        given: arguments that the one who builds it gives.
    """
    return {
        name: parameter
        for name, parameter in inspect.signature(made).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and name not in given
    }


def check_known(section: str, options: Collection[str], known: Collection[str]) -> None:
    """Raise ValueError where a section of a configuration has a name that nothing reads.

    Args:
        section: its name, for the message.
        options: names in it.
        known: those that are read.
    """
    if unknown := sorted(set(options) - set(known), key=str):
        near = nearest(unknown[0], known)
        meant = f"did you mean {near}? " if near else ""
        use = f"{meant}use {', '.join(sorted(known))}" if known else "there are no options"
        raise ValueError(f"{section}: {unknown} is unknown; {use}")


@contextmanager
def section(
    name: str, options: Mapping[str, object], made: Callable, *, given: Collection[str] = ()
) -> Iterator[None]:
    """Around the building of a class by a section of a configuration.

    Args:
        name: of the section, and of what is built, e.g. "reduction_conf of fixed_rate".
        options: what stands in it.
        made: the class.
        given: arguments that the one who builds it gives.

    Raises:
        ValueError: if an option is unknown to the class or lacking, or its value is of no use.
    """
    known = options_of(made, given=given)
    check_known(name, options, known)
    needed = [option for option, about in known.items() if about.default is about.empty]
    if lacking := [option for option in needed if option not in options]:
        raise ValueError(f"{name}: lacks {', '.join(lacking)}")
    try:
        yield
    except TypeError as error:
        raise ValueError(f"{name}: {in_words(error) or error}") from error
