# pyright: basic, reportMissingImports=false, reportCallIssue=false
"""Hydra: a sweep over the number of the case."""

from dataclasses import dataclass

import hydra
from calls import call
from hydra.core.config_store import ConfigStore


@dataclass
class Sweep:
    """The field that is swept."""

    n: int = 0


ConfigStore.instance().store(name="sweep", node=Sweep)


@hydra.main(version_base="1.3", config_path=None, config_name="sweep")
def main(config: Sweep) -> None:
    """Run a case."""
    call(config.n)


if __name__ == "__main__":
    main()
