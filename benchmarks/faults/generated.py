"""The worker of B1 and B2: names and configs made by the generators of the tests, without shrinking, all counted.

python -m benchmarks.faults.generated names SEED COUNT FOLDER      one JSON object with what was found
python -m benchmarks.faults.generated values SEED COUNT FOLDER
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT)]

import test_names  # noqa: E402 - found by the line above
import test_transport  # noqa: E402
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis.strategies import SearchStrategy  # noqa: E402

from experiment_runner import collisions, name_problem  # noqa: E402


def generate(strategy: SearchStrategy[Any], number: int, count: int, use: Callable[[Any], None]) -> None:
    """Use so many values of a strategy, the same ones for the same seed."""

    @seed(number)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )  # fmt: skip
    @given(value=strategy)
    def each(value: Any) -> None:
        use(value)

    each()


def key(name: str) -> str:
    """What a file system that ignores case and normal forms makes of a name; written without the runner's own."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def fixed_names() -> list[str]:
    """Every name of the tests, the reserved ones in other cases of letters too."""
    reserved = [*test_names.WRITTEN, *test_names.DEVICES, *sorted(test_names.RESERVED)]
    pairs = [name for pair in test_names.COLLIDING for name in pair]
    around = [text for c in test_names.NASTY for text in (f"a{c}b", f"{c}a", f"a{c}")]
    names = [*test_names.REFUSED, *test_names.ACCEPTED, *reserved, *map(str.upper, reserved), *pairs, *around]
    return list(dict.fromkeys(names))


def names(number: int, count: int, folder: Path) -> dict[str, Any]:
    """Refused with a reason and a suggestion that is accepted, or a folder of exactly that name."""
    accepted: dict[str, None] = {}
    bad: list[str] = []
    tried = refused = 0

    def use(name: str) -> None:
        nonlocal tried, refused
        tried += 1
        problems = name_problem(name)
        if problems:
            refused += 1
            suggestion = test_names.suggestion(problems[0])
            if len(problems) != 1 or not problems[0].isprintable() or name_problem(suggestion):
                bad.append(f"{name!a}: {problems}")
            return
        if len(os.fsencode(name)) > 255:
            bad.append(f"{name!a} is accepted with {len(os.fsencode(name))} bytes")
        accepted[name] = None

    for name in fixed_names():
        use(name)
    fixed = tried
    generate(test_names.NAMES, number, count, use)
    bad += [text for names in batches(list(accepted)) for text in wrong_folders(names, folder)]
    pairs_tried = 0

    def use_pair(pair: tuple[str, str]) -> None:
        nonlocal pairs_tried
        pairs_tried += 1
        if key(pair[0]) == key(pair[1]) and not collisions(pair):
            bad.append(f"{pair!a} are one folder, and both accepted")

    generate(test_names.pairs(), number, count, use_pair)
    whole = [names for names in batches(list(accepted)) if not collisions(names)]
    (folder / "accepted.json").write_text(json.dumps(whole))
    return {"tried": tried, "fixed": fixed, "refused": refused, "pairs": pairs_tried, "bad": bad}


def batches(found: list[str], size: int = 100) -> list[list[str]]:
    """Names in suites without two that share a folder; what shares one goes to a later suite."""
    made: list[dict[str, str]] = []
    for name in found:
        place = next((batch for batch in made if len(batch) < size and key(name) not in batch), None)
        if place is None:
            made.append(place := {})
        place[key(name)] = name
    return [list(batch.values()) for batch in made]


def wrong_folders(names: list[str], folder: Path) -> list[str]:
    """Names that are no folder of exactly that name, directly in the run directory."""
    run_dir = folder / "run"
    run_dir.mkdir()
    for name in names:
        (run_dir / name).mkdir()
    wrong = sorted(set(os.listdir(run_dir)) ^ set(names))
    wrong += [name for name in names if os.path.dirname(os.path.realpath(run_dir / name)) != os.path.realpath(run_dir)]
    for name in os.listdir(run_dir):
        (run_dir / name).rmdir()
    run_dir.rmdir()
    return [f"{name!a} is another folder" for name in wrong]


def values(number: int, count: int, folder: Path) -> dict[str, Any]:
    """Read back from its arguments and config.json, every config is what was declared, to the last bit."""
    bad: list[str] = []
    tried = 0

    def use(config: Any) -> None:
        nonlocal tried
        tried += 1
        arrived = test_transport.Generated.from_command_line(test_transport.save(config, folder))
        declared = test_transport.with_output_dir(config, folder)
        there = test_transport.describe(arrived)
        if there != declared:
            bad.append(f"seed {number}, config {tried}: {declared[:200]!a} arrived as {there[:200]!a}")

    generate(test_transport.CONFIGS, number, count, use)
    return {"tried": tried, "bad": bad}


def main() -> None:
    what, number, count, folder = sys.argv[1:]
    os.makedirs(folder, exist_ok=True)
    found = {"names": names, "values": values}[what](int(number), int(count), Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
