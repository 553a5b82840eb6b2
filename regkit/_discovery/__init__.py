"""From alias to class: what this process has registered, what is installed, and the import of what was asked for."""

from __future__ import annotations

from contextvars import ContextVar

from .reader import Reading, imported, normal_form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .distributions import Claim, Installed

GROUP = "regkit.regularizers"

#: Classes that were registered in this process, by alias; they come before what is installed.
registered: dict[str, type] = {}

_published: Reading | None = None
_generation = 0  # counts calls of `refresh`
_published_generation = 0
_is_reading: ContextVar[bool] = ContextVar("_is_reading", default=False)


def class_of(alias: str) -> type:
    """Return the class of an alias, importing its plugin at the first call.

    An alias that is not there is looked for once more, since a distribution may have been installed meanwhile.

    Raises
    ------
    UnknownAliasError, AliasConflictError, PluginLoadError
    """
    cls = registered.get(normal_form(alias))
    if cls is not None:
        return cls
    found = reading_with(alias)
    cls = found.loaded.get(alias)
    if cls is None:
        targets = found.targets_of(alias)
        if len(targets) != 1:
            from .wording import not_one_target

            raise not_one_target(alias, found.installed(), registered)
        (target,) = targets
        cls = found.loaded[alias] = _class(alias, target, found)
    return cls


def check_known(alias: str) -> None:
    """Raise UnknownAliasError if nothing provides an alias. Nothing is imported, and a conflict does not matter."""
    if normal_form(alias) in registered:
        return
    found = reading_with(alias)
    if not found.targets_of(alias):
        from .wording import not_one_target

        raise not_one_target(alias, found.installed(), registered)


def reading() -> Reading:
    """Return the reading of what is installed, made at the first call.

    No lock is held while finders of third parties run: two threads may both read, and the first to end counts. A
    finder that uses regkit itself gets the reading before.
    """
    global _published, _published_generation
    while _published is None or _published_generation != _generation:
        if _is_reading.get():
            return _published or Reading(GROUP, empty=True)
        token, generation = _is_reading.set(True), _generation
        try:
            found = Reading(GROUP)
        finally:
            _is_reading.reset(token)
        if _published is None or _published_generation < generation:
            _published, _published_generation = found, generation
    return _published


def reading_with(alias: str) -> Reading:
    """Return a reading that has an alias, where there is one: it reads again if the present reading has none."""
    found = reading()
    if alias in found.loaded or found.targets_of(alias) or _is_reading.get():
        return found
    refresh()
    return reading()


def current_reading() -> Reading:
    """Return the reading of what is installed, made anew if a folder of the path has changed since."""
    found = reading()
    if found.is_outdated() and not _is_reading.get():
        refresh()
        found = reading()
    return found


def installed() -> Installed:
    """Return who claims which alias, as it was read."""
    return reading().installed()


def claims_of(alias: str) -> tuple[Claim, ...]:
    """Return the claims of an alias: of this process first, then of installed distributions."""
    from .distributions import Claim

    cls = registered.get(alias)
    here = () if cls is None else (Claim(None, None, f"{cls.__module__}:{cls.__qualname__}"),)
    return (*here, *installed().claims(alias))


def refresh() -> None:
    """Forget what was read and loaded, here and in Python's finders; what was registered stays."""
    global _generation
    from importlib import invalidate_caches

    _generation += 1
    invalidate_caches()


def _class(alias: str, target: str, found: Reading) -> type:
    """Import the class that a target names."""
    module, _, attribute = target.partition(":")
    try:
        if not module or not attribute:
            raise ImportError("the entry point names no class, which is written module:Class")
        cls = imported(target)
        if not isinstance(cls, type):
            raise ImportError(f"{attribute} is of type {type(cls).__name__}, not a class")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a plugin does while it is imported; some of it is not an Exception
        from .wording import not_loaded

        raise not_loaded(alias, found.installed().claims(alias), error) from error
    return cls
