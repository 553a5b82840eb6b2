"""From alias to class: the classes registered in this process, the installed plugins, and their import."""

from __future__ import annotations

from contextvars import ContextVar

from .reader import Reading, imported, normal_form

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .claims import Claim, Installed

GROUP = "regkit.regularizers"

#: Classes that were registered in this process, by alias; they come before installed ones.
registered: dict[str, type] = {}

_generation = 0  # the number of calls of `refresh`
_published = -1, Reading(GROUP, places=())  # the last reading, and the generation in which it began
_installed: tuple[Reading, Installed] | None = None
_is_reading: ContextVar[bool] = ContextVar("_is_reading", default=False)


def class_of(alias: str) -> type:
    """Return the class of an alias, importing its plugin at the first call.

    Raises
    ------
    UnknownAliasError, AliasConflictError, PluginLoadError
    """
    cls = registered.get(normal_form(alias))
    if cls is not None:
        return cls
    found = _reading_with(alias)
    cls = found.loaded.get(alias)
    if cls is None:
        targets = found.targets_of(alias)
        if len(targets) != 1:
            from .wording import not_one_target

            raise not_one_target(alias, _installed_in(found), registered)
        (target,) = targets
        cls = found.loaded[alias] = _imported_class(alias, target, found)
    return cls


def check_alias(alias: str) -> None:
    """Raise UnknownAliasError if nothing provides an alias. Nothing is imported, and a conflict is not an error."""
    if normal_form(alias) in registered:
        return
    found = _reading_with(alias)
    if not found.targets_of(alias):
        from .wording import not_one_target

        raise not_one_target(alias, _installed_in(found), registered)


def is_alias(alias: str) -> bool:
    """Return whether an alias is registered, or was claimed at the last reading of the path."""
    alias = normal_form(alias)
    return (
        alias in registered or alias in reading().all_targets() or (":" in alias and bool(reading().targets_of(alias)))
    )


def aliases() -> list[str]:
    """Return every alias, sorted."""
    return sorted({*reading().all_targets(), *registered})


def reading() -> Reading:
    """Return a reading that began after the last `refresh`.

    Finders of third parties run while the path is read, so no lock is held. If two threads read at once, the first to
    end publishes its reading. A finder that uses regkit itself gets the last published reading.
    """
    global _published
    generation, found = _published
    if generation == _generation or _is_reading.get():
        return found
    generation, token = _generation, _is_reading.set(True)
    try:
        found = Reading(GROUP)
    finally:
        _is_reading.reset(token)
    published, newest = _published
    if published >= generation:
        return newest
    _published = generation, found
    return found


def refresh_if_outdated() -> None:
    """Forget the reading if the path, or a folder on it, has changed since."""
    if reading().is_outdated():
        refresh()


def refresh() -> None:
    """Forget readings and loaded classes, and clear the caches of Python's finders; registered classes stay.

    Within a reading this does nothing: a finder that asks for an unknown alias would make every call read again.
    """
    global _generation
    if _is_reading.get():
        return
    from importlib import invalidate_caches

    _generation += 1
    invalidate_caches()


def installed() -> Installed:
    """Return the claims of installed distributions."""
    return _installed_in(reading())


def claims_of(alias: str) -> tuple[Claim, ...]:
    """Return the claims of an alias: that of this process first, then those of installed distributions."""
    from .claims import Claim

    cls = registered.get(normal_form(alias))
    here = () if cls is None else (Claim(None, None, f"{cls.__module__}:{cls.__qualname__}"),)
    return (*here, *installed().claims(alias))


def _reading_with(alias: str) -> Reading:
    """Return a reading; a new one if the last one lacks an alias, which may have been installed since."""
    found = reading()
    if alias in found.loaded or found.targets_of(alias):
        return found
    refresh()
    return reading()


def _installed_in(found: Reading) -> Installed:
    global _installed
    last = _installed
    if last is None or last[0] is not found:
        from .claims import Installed

        last = _installed = found, Installed(found)
    return last[1]


def _imported_class(alias: str, target: str, found: Reading) -> type:
    module, _, attribute = target.partition(":")
    try:
        if not module or not attribute:
            raise ImportError("the entry point names no class, which is written module:Class")
        cls = imported(target)
        if not isinstance(cls, type):
            raise ImportError(f"{attribute} is of type {type(cls).__name__}, not a class")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin may raise anything while it is imported, not only Exception
        from .wording import not_loaded

        raise not_loaded(alias, _installed_in(found).claims(alias), module, error) from error
    return cls
