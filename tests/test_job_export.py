"""`suitecase export-job`: what other schedulers are given is valid, and each index of it runs its case and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import HERE, Project, clean_environment
from jsonschema import Draft202012Validator
from test_command import suitecase

from suitecase.errors import SuitecaseError
from suitecase.queries.estimate import Described, ask_suite
from suitecase.queries.job_export import JobOptions, export_jobs, yaml_of
from suitecase.rundir import read_run

SCHEMAS = Path(__file__).parent / "schemas"
NAMES = ("a", "b[1]", "it's $HOME")


@pytest.fixture(scope="module")
def described(new_project: Callable[[str], Project]) -> Described:
    """What a suite says, of which each case needs something else."""
    project = new_project("described")
    needs = "Resources(gpus={'a': 8, 'b[1]': 0.5}.get(name), cpus=2)"
    project.suite(
        f"[ExperimentCase(name, Config(do='print(1)'), resources={needs}) for name in {NAMES!r}]",
        before="from experiment_runner import Resources",
    )
    return ask_suite(project.root / "suite.py")


def without_needs(described: Described) -> Described:
    cases = [{**case, "resources": None} for case in described.document["cases"]]
    return replace(described, document={**described.document, "cases": cases})


def check(document: Mapping[str, Any], schema: str, part: str | None = None) -> None:
    """Hold a document against a schema, or against a part of it."""
    read: dict[str, Any] = json.loads((SCHEMAS / schema).read_text())
    validator: Any = Draft202012Validator({**read, "$ref": f"#/$defs/{part}"} if part else read)
    validator.validate(document)


def run_script(script: str, project: Project, **variables: str) -> int:
    env = {**clean_environment(), **variables}
    return subprocess.run(["sh", "-c", script], cwd=project.root, env=env, capture_output=True).returncode


def test_kubernetes_job(project: Project, tmp_path: Path) -> None:
    """The manifest is valid, says what the cases need, and the script of an index runs its case, by whatever name."""
    plain = f"[ExperimentCase(name, Config(do='print(1)')) for name in {NAMES!r}]"
    project.suite(plain, more="policy=ExecutionPolicy(cpus_per_case=1, memory_gb_per_case=2, gpus_per_case=4)",
                  before="from experiment_runner import ExecutionPolicy")  # fmt: skip
    arguments = ("suite.py", "--to", "kubernetes", "--image", "registry/x:1", "--results", "runs", "--set", "x=3")
    done = suitecase("export-job", *arguments, "--python", sys.executable, "-o", "job.yaml", cwd=project.root)
    assert (done.code, done.stdout, done.stderr) == (0, "", "")
    config_map, job = yaml.safe_load_all((project.root / "job.yaml").read_text())
    check(config_map, "kubernetes.json", "io.k8s.api.core.v1.ConfigMap")
    check(job, "kubernetes.json", "io.k8s.api.batch.v1.Job")
    spec = job["spec"]
    assert (spec["completions"], spec["completionMode"]) == (3, "Indexed")
    (container,) = spec["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {"cpu": "1000m", "memory": "2250000000"}
    assert container["resources"]["limits"] == {"memory": "2250000000", "nvidia.com/gpu": "4"}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["command"] == ["/bin/sh", f"{mounts['suitecase']}/run.sh"]
    (tmp_path / "cases").write_text(config_map["data"]["cases"])
    script = config_map["data"]["run.sh"].replace(mounts["suitecase"], str(tmp_path))
    script = script.replace(mounts["results"], str(tmp_path / "results"))
    project.suite(plain)  # here are no 4 GPUs
    assert run_script(script, project, JOB_COMPLETION_INDEX="1") == 0
    (run_dir,) = (tmp_path / "results" / "exp").iterdir()
    run = read_run(run_dir)
    assert {variant: case.status for variant, case in run.cases.items() if case.status != "pending"} == {
        "b[1]": "succeeded"
    }
    assert run.cases["b[1]"].config()[0]["x"] == 3
    assert run.asked["note"] == "exp, index 1"


STAND_IN = """#!/bin/sh
mkdir -p "$3/exp/20260101_000000_abc"
printf '%s\\n' "$@" > "$3/exp/20260101_000000_abc/arguments"
exit 1
"""
"""For the interpreter: it leaves a run directory that says how it was called."""


def test_skypilot_task(described: Described, project: Project, tmp_path: Path) -> None:
    """The task is valid; its script runs the case of an index, and copies the run under a name of its own."""
    python = project.write("python.sh", STAND_IN)
    python.chmod(0o755)
    options = JobOptions(results="s3://bucket/x", setup="pip install -e .", python=str(python))
    (task,) = yaml.safe_load_all(yaml_of(export_jobs(without_needs(described), "skypilot", options)))
    check(task, "skypilot-task.json")
    (bucket,) = task["file_mounts"]
    assert task["envs"]["SUITECASE_RESULTS"] == bucket
    assert task["file_mounts"][bucket]["source"] == "s3://bucket/x"
    (tmp_path / "bucket").mkdir()
    places = {"HOME": str(tmp_path), "SUITECASE_RESULTS": str(tmp_path / "bucket")}
    assert run_script(task["run"], project, **places, SUITECASE_INDEX="", SKYPILOT_JOB_RANK="2") == 1
    (run_dir,) = (tmp_path / "bucket" / "exp").iterdir()
    assert run_dir.name == "20260101_000000_abc-i2"
    called = (run_dir / "arguments").read_text().splitlines()
    results = str(tmp_path / "suitecase-results")
    assert called == ["suite.py", "--results-dir", results, "--only", "it's $HOME", "--note", "exp, index 2"]


def test_jobs_by_needs(described: Described) -> None:
    """Cases that need other devices get a job of their own; what can't be said there is refused, all of it at once."""
    with pytest.raises(SuitecaseError) as refused:
        export_jobs(described, "kubernetes", JobOptions(name="No Name"))
    words = ("--name No Name: ", "--image: ", "--results: ", "'b[1]' asks for 0.5 GPUs")
    assert all(word in problem for word, problem in zip(words, refused.value.problems, strict=True))
    with pytest.raises(SuitecaseError) as refused:
        export_jobs(described, "skypilot", JobOptions(results="runs"))
    words = ("--results runs: ", "--setup or --image: ", "--gpu: ", "3 kinds of resources")
    assert all(word in problem for word, problem in zip(words, refused.value.problems, strict=True))
    whole = [case for case in described.document["cases"] if case["variant"] != "b[1]"]
    part = replace(described, document={**described.document, "cases": whole})
    jobs = export_jobs(part, "kubernetes", JobOptions(image="x", results="runs"))
    assert [(job.name, job.variants) for job in jobs] == [("exp-1", ("a",)), ("exp-2", ("it's $HOME",))]


def test_manifests_of_the_manual() -> None:
    """The pods of the KubeRay manifest in docs/ray.md are pods."""
    manifest = (HERE / "docs" / "ray.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (cluster,) = yaml.safe_load_all(manifest)
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        check(group["template"], "kubernetes.json", "io.k8s.api.core.v1.PodTemplateSpec")
