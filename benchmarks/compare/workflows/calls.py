"""A case as a call, for those who call a function in their own process."""

import importlib

from cases import MODULE, arguments

# At once, as every file of a user begins with its imports.
module = importlib.import_module(MODULE) if MODULE else None


def call(n: int) -> None:
    """What the entry point does; without one, nothing."""
    if module:
        module.main(module.Config.from_command_line(arguments(n)))
