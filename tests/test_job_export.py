"""`suitecase export-job`: what other schedulers are given is valid, and each index of it runs its case and no other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import HERE, Project, clean_environment
from jsonschema import Draft202012Validator
from test_command import suitecase

from suitecase.errors import SuitecaseError
from suitecase.queries.job_export import JobOptions, export_jobs, yaml_of
from suitecase.rundir import read_run

SCHEMAS = Path(__file__).parent / "schemas"
NAMES = ("a", "b[1]", "it's $HOME")


def cases(resources: str = "") -> str:
    return f"[ExperimentCase(name, Config(do='print(1)'){resources}) for name in {NAMES!r}]"


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
    project.suite(cases(), more="policy=ExecutionPolicy(cpus_per_case=1, memory_gb_per_case=2, gpus_per_case=4)",
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
    project.suite(cases())  # here are no 4 GPUs
    assert run_script(script, project, JOB_COMPLETION_INDEX="1") == 0
    (run_dir,) = (tmp_path / "results" / "exp").iterdir()
    run = read_run(run_dir)
    assert {variant: case.status for variant, case in run.cases.items() if case.status != "pending"} == {
        "b[1]": "succeeded"
    }
    assert run.cases["b[1]"].config()[0]["x"] == 3
    assert run.asked["note"] == "exp, index 1"


def test_skypilot_task(project: Project, tmp_path: Path) -> None:
    """The task is valid; its script runs the case of an index, and copies the run under a name of its own."""
    project.suite(cases())
    options = JobOptions(results="s3://bucket/x", setup="pip install -e .", python=sys.executable)
    (task,) = yaml.safe_load_all(yaml_of(export_jobs(project.root / "suite.py", "skypilot", options)))
    check(task, "skypilot-task.json")
    (bucket,) = task["file_mounts"]
    assert task["envs"]["SUITECASE_RESULTS"] == bucket
    assert task["file_mounts"][bucket]["source"] == "s3://bucket/x"
    (tmp_path / "bucket").mkdir()
    places = {"HOME": str(tmp_path), "SUITECASE_RESULTS": str(tmp_path / "bucket")}
    assert run_script(task["run"], project, **places, SUITECASE_INDEX="", SKYPILOT_JOB_RANK="2") == 0
    (run_dir,) = (tmp_path / "bucket" / "exp").iterdir()
    assert run_dir.name.endswith("-i2")
    assert [v for v, case in read_run(run_dir).cases.items() if case.status == "succeeded"] == ["it's $HOME"]


def test_jobs_by_needs(project: Project) -> None:
    """Cases that need other devices get a job of their own; what can't be said there is refused, all of it at once."""
    some = "Resources(gpus={'a': 8, 'b[1]': 0.5}.get(name))"
    project.suite(cases(f", resources={some}"), before="from experiment_runner import Resources")
    suite = project.root / "suite.py"
    with pytest.raises(SuitecaseError) as refused:
        export_jobs(suite, "kubernetes", JobOptions(name="No Name"))
    words = ("--name No Name: ", "--image: ", "--results: ", "'b[1]' asks for 0.5 GPUs")
    assert all(word in problem for word, problem in zip(words, refused.value.problems, strict=True))
    options = JobOptions(image="x", results="runs", only=("a", "it*"))
    jobs = export_jobs(suite, "kubernetes", options)
    assert [(job.name, job.variants) for job in jobs] == [("exp-1", ("a",)), ("exp-2", ("it's $HOME",))]
    with pytest.raises(SuitecaseError, match="there are kubernetes and skypilot"):
        export_jobs(suite, "nomad", options)


def test_manifests_of_the_manual() -> None:
    """The pods of the KubeRay manifest in docs/ray.md are pods."""
    manifest = (HERE / "docs" / "ray.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    (cluster,) = yaml.safe_load_all(manifest)
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        check(group["template"], "kubernetes.json", "io.k8s.api.core.v1.PodTemplateSpec")
