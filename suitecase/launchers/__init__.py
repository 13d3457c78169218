"""Launchers beside the runner's own: how attempts become processes somewhere else, or faster here.

The runner finds them by the plugin group `experiment_runner.launchers`; its Protocol `Launcher` is what all satisfy.
"""

__all__: list[str] = []
