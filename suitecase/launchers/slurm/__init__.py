"""The launcher `slurm`: `Slurm(partition="gpu", gpus=1)` in Python, `--launcher slurm` on a command line."""

from suitecase.launchers.slurm.driver import Slurm
from suitecase.launchers.slurm.options import SlurmOptions

__all__ = ["Slurm", "SlurmOptions"]
