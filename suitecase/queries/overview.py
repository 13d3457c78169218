"""A run, or one of its cases, as one document: what was asked, what came out, and how to go on."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from suitecase.queries.logs import shown_text
from suitecase.queries.served import served_models, several_served
from suitecase.rundir import CaseRun, Run, layout
from suitecase.rundir.runs import parse_time
from suitecase.rundir.spending import spent_by_case
from suitecase.tables.rows import case_results, flatten

__all__ = ["case_overview", "log_tail", "run_overview", "suite_command"]


def run_overview(run: Run, at_most: int | None = None) -> dict[str, Any]:
    """A run: its head, the config fields in which its cases differ, and a row per case.

    Args:
        at_most: Cases to read; of more, those that have not succeeded come first. What is a sum over all of them, such
            as the spending, is then left out.
    """
    problems = list(run.problems)
    configs: dict[str, dict[str, Any]] = {}
    results: dict[str, dict[str, Any]] = {}
    cases = {variant: run.cases[variant] for variant in chosen_cases(run, at_most)}
    whole = len(cases) == len(run.cases)
    for variant, case in cases.items():
        config, problem = case.config()
        told, damage = case_results(run, case)
        configs[variant], results[variant] = flatten(config), flatten(told)
        problems += [*([problem] if problem else []), *damage]
    varying = varying_fields(list(configs.values()))
    first = next(iter(configs.values())) if configs else {}
    served = served_models(run) if whole else {}
    numbers = dict.fromkeys(name for told in results.values() for name, value in told.items() if is_scalar(value))
    rows = [
        case_row(case, {name: configs[variant].get(name) for name in varying}, results[variant])
        for variant, case in cases.items()
    ]
    return {
        "experiment": run.experiment,
        "run": run.name,
        "path": str(run.path),
        "status": run.status,
        "evidence": run.owner.evidence if run.owner else run.stopped,
        "counts": dict(run.counts),
        "description": str(run.asked.get("description") or "").partition("\n")[0],
        "note": run.asked.get("note") or "",
        "code": code_words(run),
        "launcher": launcher_words(run),
        "started": run.started_at,
        "took": run.duration_s,
        "passes": run.passes,
        "command": asked_command(run),
        "config_columns": varying,
        "result_columns": [name for name in numbers if "." not in name][:8],
        "same_config": {name: value for name, value in first.items() if name not in varying},
        "served_models": served,
        "cases": rows,
        "left_out": len(run.cases) - len(cases),
        "spending": spending(run, [name for name in varying if name != "seed"], configs) if whole else [],
        "commands": run_commands(run),
        "problems": [*problems, *several_served(served, run.name)],
    }


def case_row(case: CaseRun, config: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    """A case among others: what became of it, the part of its config that differs, its results."""
    return {
        "variant": case.variant,
        "status": case.status,
        "cause": case.cause,
        "attempts": len(case.attempts),
        "duration_s": took_s(case),
        "max_rss_bytes": case.last.max_rss_bytes if case.last else None,
        "config": dict(config),
        "results": dict(results),
    }


def chosen_cases(run: Run, at_most: int | None) -> list[str]:
    """The variants to show, in the order of the suite."""
    statuses = run.statuses
    if at_most is None or len(statuses) <= at_most:
        return list(statuses)
    first = sorted(statuses, key=lambda variant: statuses[variant] == "succeeded")[:at_most]
    chosen = set(first)
    return [variant for variant in statuses if variant in chosen]


def spending(run: Run, fields: Sequence[str], configs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was spent, by model and condition: the fields that differ, the seed aside."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for variant, case in run.cases.items():
        condition = {name: configs[variant].get(name) for name in fields}
        for spent in spent_by_case(case.path):
            key = spent.model, json.dumps(condition, sort_keys=True, default=str)
            row = sums.setdefault(
                key,
                {"model": spent.model, "condition": condition, "cases": 0, "calls": 0, "input_tokens": 0,
                 "output_tokens": 0, "usd": 0.0},
            )  # fmt: skip
            row["cases"] += 1
            row["usd"] = round(row["usd"] + spent.usd, 12)
            for name in ("calls", "input_tokens", "output_tokens"):
                row[name] += getattr(spent, name)
    return sorted(sums.values(), key=lambda row: -row["usd"])


def case_overview(run: Run, case: CaseRun) -> dict[str, Any]:
    """A case: its whole config, its results, each attempt, its files, the end of its log."""
    config, config_problem = case.config()
    results, problems = case_results(run, case)
    log = case.log_path()
    commands = {"log": f"suitecase logs {run.experiment}/{run.name} {shlex.quote(case.variant)}"}
    if run.asked and case.status not in ("succeeded", "running"):
        commands["alone"] = (
            f"{suite_command(run)} --resume {shlex.quote(str(run.path))} --debug {shlex.quote(case.variant)}"
        )
    return {
        "experiment": run.experiment,
        "run": run.name,
        "variant": case.variant,
        "path": str(case.path),
        "status": case.status,
        "cause": case.cause,
        "config": flatten(config),
        "results": flatten(results),
        "attempts": [asdict(attempt) for attempt in case.attempts],
        "files": sorted(os.listdir(case.path)) if os.access(case.path, os.R_OK) else [],
        "log_tail": log_tail(log) if log and case.status != "succeeded" else [],
        "commands": commands,
        "problems": [problem for problem in (config_problem, *problems) if problem],
    }


def took_s(case: CaseRun) -> float | None:
    """Seconds of the latest attempt; of one that runs, until now by this machine's clock."""
    if case.last is None or case.last.status != "running" or case.last.started_at is None:
        return case.last.duration_s if case.last else None
    return max(0.0, (datetime.now(UTC) - parse_time(case.last.started_at)).total_seconds())


def varying_fields(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the fields that differ between configs."""
    names = dict.fromkeys(name for config in configs for name in config)
    return [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]


def is_scalar(value: Any) -> bool:
    return isinstance(value, int | float | str) and not (isinstance(value, str) and len(value) > 40)


def code_words(run: Run) -> str:
    """The code of a run in words."""
    code = run.code
    words = f"{code.label} ({code.branch})" if code.branch else code.label
    if code.patch:
        words += f", {code.patch} has what the commit lacks"
    return words + "; its attempts ran different code" * run.mixes_code


def launcher_words(run: Run) -> str:
    """Where its cases last ran, with the launcher's options; empty for processes of this machine."""
    name, options = str(run.launcher.get("name") or "local"), run.launcher.get("options")
    if name == "local":
        return ""
    pairs = cast(dict[str, Any], options).items() if isinstance(options, dict) else ()
    return " ".join([name, *(shlex.quote(f"{option}={value}") for option, value in pairs)])


def asked_command(run: Run) -> str:
    """The command line that began the run, as it was typed."""
    command: object = run.asked.get("command")
    words = [str(word) for word in cast(list[object], command)] if isinstance(command, list) else []
    return shlex.join([Path(words[0]).name, *words[1:]]) if len(words) > 1 else suite_command(run)


def suite_command(run: Run) -> str:
    """How the suite was called, without what was said of that one run."""
    suite: object = run.asked.get("suite")
    command: object = run.asked.get("command")
    python = str(command[0]) if isinstance(command, list) and command else "python"  # pyright: ignore[reportUnknownArgumentType]
    path = str(suite.get("path")) if isinstance(suite, dict) else ""  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    return shlex.join([Path(python).name if not path else python, path]) if path else ""


def run_commands(run: Run) -> dict[str, str]:
    """What a person may want to do next."""
    commands: dict[str, str] = {}
    name = f"{run.experiment}/{run.name}"
    if run.status == "running":
        commands["watch"] = f"suitecase watch {name}"
        commands["stop"] = f"suitecase cancel {name}"
    if not run.is_owned and run.asked and any(case.status != "succeeded" for case in run.cases.values()):
        commands["go on"] = f"suitecase resume {name}"
    if run.status != "running" and any(os.path.exists(case.path / layout.DEAD_LETTERS) for case in run.cases.values()):
        commands["ask failed items again"] = f"suitecase replay {name}"
    return commands


def log_tail(path: Path, count: int = 10) -> list[str]:
    """The last lines of a log, with what a terminal would obey made harmless."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 16_384))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    return [shown_text(line)[:400] for line in lines if line.strip()][-count:]
