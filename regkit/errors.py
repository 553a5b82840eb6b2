"""Everything that regkit raises on purpose.

    RegkitError
    ├── UnknownAliasError (LookupError)   no installed plugin, or no member of a set, has that alias
    ├── AliasConflictError                several distributions, or a registered class, claim one alias
    ├── PluginLoadError (ImportError)     a plugin was found and could not be imported
    ├── HookSignatureError (TypeError)    a class whose hooks could not be called
    ├── OptionError (ValueError)          a value that a user gave to an alias, or to a constructor
    ├── NoMatchError (LookupError)        a pattern that selects nothing
    └── GraphError (ValueError)           an output, penalty or weight that is not what a graph needs

None of them derives from KeyError, whose ``str`` puts quotes around the message.
"""


class RegkitError(Exception):
    """Base of all errors that regkit raises on purpose."""


class UnknownAliasError(RegkitError, LookupError):
    """No installed plugin provides the alias, or no regularizer of a set has that label."""


class AliasConflictError(RegkitError):
    """Several targets claim the alias."""


class PluginLoadError(RegkitError, ImportError):
    """A plugin was found in the installed metadata and could not be loaded."""


class HookSignatureError(RegkitError, TypeError):
    """A regularizer class has hooks that could not be called, or no hook at all."""


class OptionError(RegkitError, ValueError):
    """An alias or an argument of a regularizer was given a value that it does not accept."""


class NoMatchError(RegkitError, LookupError):
    """A pattern selects none of the outputs or parameters."""


class GraphError(RegkitError, ValueError):
    """An output, a penalty or a weight is not an expression that a graph could use."""


for _error in (RegkitError, *RegkitError.__subclasses__()):
    _error.__module__ = "regkit"  # the name under which users catch it, in tracebacks too


def prefixed(error: RegkitError, where: str) -> RegkitError:
    """Return an error of regkit with a name before its message; traceback and cause stay.

    A class that a plugin derives from one of these may take other arguments: such an error is returned unchanged.
    """
    if type(error).__module__ != "regkit":
        return error
    again = type(error)(f"{where}: {error}").with_traceback(error.__traceback__)
    again.__cause__ = error.__cause__
    again.__suppress_context__ = True
    return again
