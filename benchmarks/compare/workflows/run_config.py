"""The case of the table: it parses its config, as any entry point does, and writes a result."""

import json
from pathlib import Path

from experiment_config import BaseExperimentConfig


class Config(BaseExperimentConfig):
    """What most experiments have."""

    model: str = "gpt-4"
    num_samples: int = 10
    temperature: float = 0.7
    tags: list[str] = []


def main(config: Config) -> None:
    """Do next to nothing, and say so."""
    folder = Path(config.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps({"score": config.num_samples}))


if __name__ == "__main__":
    main(Config())
