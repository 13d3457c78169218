"""The case that is killed: its result is half written while it waits; the first two to come don't wait.

It reads its two arguments by itself: how long a start takes is no matter here.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

FREE = 2
PATIENCE_S = 300.0


@dataclass(frozen=True)
class Config:
    """Which case it is."""

    output_dir: str
    num_samples: int

    @classmethod
    def from_command_line(cls, argv: list[str]) -> Config:
        """Read what follows `--output_dir` and `--num_samples`."""
        output_dir, n = (argv[argv.index(flag) + 1] for flag in ("--output_dir", "--num_samples"))
        return cls(output_dir, int(n))


def is_free(outside: Path) -> bool:
    """Whether this case is one of the first, in whatever order they come."""
    for place in range(FREE):
        try:
            os.close(os.open(outside / f"free-{place}", os.O_CREAT | os.O_EXCL))
            return True
        except FileExistsError:
            pass
    return False


def main(config: Config) -> None:
    """Leave marks outside the run, and a result in two halves."""
    outside, folder = Path(os.environ["COMPARE_OUTSIDE"]), Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    waits = not is_free(outside)
    with open(folder / "results.json", "w") as file:
        file.write('{"score": ')
        file.flush()
        with open(outside / f"began-{config.num_samples}", "a") as began:
            began.write(f"{os.getpid()} {folder.resolve()}\n")
        end = time.monotonic() + PATIENCE_S
        while waits and not (outside / "released").exists() and time.monotonic() < end:
            time.sleep(0.02)
        file.write("1}")
    (outside / f"ended-{config.num_samples}").touch()


if __name__ == "__main__":
    main(Config.from_command_line(sys.argv[1:]))
