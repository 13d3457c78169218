"""`python -m suitecase`: the command, with the interpreter that is named."""

from suitecase.cli import main

__all__: list[str] = []

main()
