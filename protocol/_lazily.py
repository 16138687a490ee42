"""Names of a package that are imported when somebody asks for one."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazily(package: str, places: Mapping[str, Sequence[str]], *, modules: Collection[str] = ()) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of ``package`` (PEP 562): it imports a name's module with the first use of the name.

    Args:
        package: its full name.
        places: the names that come from each of its modules, these relative to it.
        modules: the modules that are themselves names of it.
    """
    found = {name: f"{package}.{module}" for module, names in places.items() for name in names}

    def get(name: str) -> Any:
        if name in modules:
            return import_module(f"{package}.{name}")
        if name not in found:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(found[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
