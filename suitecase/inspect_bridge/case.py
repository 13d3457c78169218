"""Which case an evaluation is, by its config and by what the runner says."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Case", "ConfigLike"]

CODE = "SUITECASE_CODE"
"""What the runner says of the code, as JSON: `commit`, `dirty`, `tree`, `mixed` (whether a log may go on with that of
other code), `after` (the number of the last attempt that succeeded, with which nothing goes on)."""


class ConfigLike(Protocol):
    """A config, as far as an evaluation needs it."""

    @property
    def seed(self) -> int: ...
    @property
    def output_dir(self) -> str: ...
    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Case:
    """An evaluation's place in a run.

    Attributes:
        folder: Where the logs go.
        experiment_dir: Where the runner publishes logs; None without a runner.
        facts: What goes into the metadata of every log.
        attempt: From 1.
        after: The number of the last attempt that succeeded; 0 for none.
        mixed: Whether a log may go on with that of other code.
    """

    folder: Path
    experiment_dir: Path | None
    facts: dict[str, Any]
    attempt: int
    after: int
    mixed: bool

    @classmethod
    def of(cls, config: ConfigLike) -> Case:
        """The case of a config; of the environment only what belongs to the same folder.

        Args:
            config: Its `output_dir` must not be empty.
        """
        folder = Path(config.output_dir)
        told = os.environ.get("SUITECASE_OUTPUT_DIR") or ""
        by_runner = bool(told) and os.path.realpath(told) == os.path.realpath(folder)
        environment = dict(os.environ) if by_runner else {}
        code: dict[str, Any] = json.loads(environment.get(CODE) or "{}")
        config_json = (folder / "config.json").read_bytes() if by_runner else b""
        fields = json.loads(config_json) if config_json else config.model_dump(mode="json")
        config_json = config_json or json.dumps(fields, sort_keys=True).encode()
        experiment = environment.get("SUITECASE_CASE", "").partition("/")[0]
        attempt = int(environment.get("SUITECASE_ATTEMPT") or 1)
        facts: dict[str, Any] = {"config": fields, "config_sha256": hashlib.sha256(config_json).hexdigest()}
        if by_runner:
            facts |= {
                "experiment": experiment,
                "variant": environment["SUITECASE_VARIANT"],
                "run": environment["SUITECASE_RUN"],
                "attempt": attempt,
                **{name: code.get(name) for name in ("commit", "dirty", "tree")},
            }
        # {experiment}/.runs/{run}/{variant}
        experiment_dir = Path(environment["SUITECASE_RUN_DIR"]).parent.parent if by_runner else None
        return cls(folder, experiment_dir, facts, attempt, code.get("after", 0), code.get("mixed", False))

    @property
    def tags(self) -> list[str]:
        """For filters in Inspect's viewer."""
        facts = self.facts
        named = [facts["variant"], f"commit:{facts['commit']}"] if "variant" in facts else []
        return [*named, *["dirty"] * bool(facts.get("dirty")), f"config:{facts['config_sha256'][:12]}"]

    def attempt_facts(self, kept: int) -> dict[str, Any]:
        """This attempt, for the list of attempts in its log.

        Args:
            kept: How many samples it took over.
        """
        names = ("run", "commit", "dirty", "tree")
        return {
            "attempt": self.attempt,
            **{name: self.facts[name] for name in names if name in self.facts},
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
            "samples_kept": kept,
        }
