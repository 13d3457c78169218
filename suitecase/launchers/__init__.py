"""Launchers: how attempts become processes, beside `local` of `experiment_runner.py`, which finds them by name.

warm    forks of a process that has imported the installed modules already
"""

__all__: list[str] = []
