"""How attempts become processes elsewhere. Plugins of the runner, which finds them by the group `experiment_runner.launchers`."""

__all__: list[str] = []
