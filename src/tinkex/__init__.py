"""Tinkex: training persistence for the Tinker API as an actor service.

The rooms are packages of their own: ``tinkex.protocol`` (what crosses a boundary), ``tinkex.actors`` (who does the
work), ``tinkex.engine`` (the embedded service, extra ``engine``) and ``tinkex.cli`` (the command, extra ``cli``).
Importing this package loads none of them.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
