"""How attempts become processes elsewhere: plugins of the runner (group `experiment_runner.launchers`)."""

__all__: list[str] = []
