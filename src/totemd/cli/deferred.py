"""Standard modules that are loaded at their first use: what trio imports and the daemon never needs.

ssl and hmac bring OpenSSL into the process: 5 MiB of resident memory and a twenty-fifth of the start's time.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Deferred(ModuleType):
    """Stands for a module until somebody asks it for something, then has all that the module has."""

    def __getattr__(self, name: str) -> object:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        vars(self).update(vars(module))
        return getattr(module, name)


def defer(*names: str) -> None:
    """Have each of these top-level modules loaded when it is first used; those loaded already stay as they are."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _Deferred(name)
