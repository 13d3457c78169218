"""Manifests by which other schedulers run a suite: a Kubernetes Job, or a SkyPilot task, with an index per case.

Each index runs the suite's own command with `--only` its case, so that everything holds there that holds here: checks,
supervision, the record. It makes a run directory of its own; what these schedulers don't have is one runner above all.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from suitecase.errors import SuitecaseError, missing_extra
from suitecase.queries.estimate import Described

__all__ = ["TARGETS", "ExportedJob", "JobOptions", "export_jobs", "yaml_of"]

RUNNER_MEMORY_GB = 0.25
"""What the runner and its guardian take beside the case, and a container's limit counts: 62 MB in a small suite."""

MOST_INDEXES = 100_000
"""Of an indexed Job with `backoffLimitPerIndex`: kubernetes.io/docs/concepts/workloads/controllers/job, "backoff limit
per index"."""

CONFIG_MAP_BYTES = 1 << 20
"""What a ConfigMap may hold: kubernetes.io/docs/concepts/configuration/configmap."""

END_MARGIN_S = 20
"""Seconds beyond a case's grace period in which the runner writes down how it ended."""


@dataclass(frozen=True)
class JobOptions:
    """What a manifest says beside what the suite says.

    Attributes:
        image: The container image; it holds Python, git, the project's packages and, for Kubernetes, the project.
        project_dir: Where the project lies in the image.
        results: Where results go: a PersistentVolumeClaim, or a bucket's URI for SkyPilot.
        python: The interpreter there.
        setup: What SkyPilot does on a fresh machine, in the project's folder.
        gpu: Which device SkyPilot is to look for, such as H100; Kubernetes gives those of `gpu_resource`.
        parallelism: Indexes at a time; by default as many cases as the suite runs at a time.
        flags: Of the suite, such as `--set`, but for `--only`, which each index has for itself.
    """

    image: str | None = None
    project_dir: str = "/project"
    results: str | None = None
    python: str = "python"
    name: str | None = None
    setup: str | None = None
    gpu: str | None = None
    gpu_resource: str = "nvidia.com/gpu"
    parallelism: int | None = None
    flags: Sequence[str] = ()


@dataclass(frozen=True)
class ExportedJob:
    """A scheduler's job.

    Attributes:
        variants: The case of each index.
        documents: What the scheduler reads.
        comment: How to start it.
    """

    name: str
    variants: tuple[str, ...]
    documents: tuple[Mapping[str, Any], ...]
    comment: str


@dataclass(frozen=True)
class Group:
    """Cases that need the same, so that one job's template fits them all."""

    name: str
    variants: tuple[str, ...]
    needs: Mapping[str, float | None]
    grace_s: float
    parallelism: int
    command: tuple[str, ...]

    @property
    def cases(self) -> str:
        """A line per index: the pattern that `--only` takes for its case and no other."""
        return "".join(f"{glob.escape(variant)}\n" for variant in self.variants)


def export_jobs(described: Described, to: str, options: JobOptions) -> list[ExportedJob]:
    """The jobs that run the cases of a suite, one for each kind of resources that cases ask for.

    Args:
        described: What the suite said, asked with the same flags as `options` has.
        to: A name of `TARGETS`.

    Raises:
        SuitecaseError: Something lacks that the scheduler must be told, or can't be told it.
    """
    groups = grouped(described, options)
    problems = TARGETS[to].problems(groups, options)
    if problems:
        raise SuitecaseError(problems)
    return [TARGETS[to].export(group, options) for group in groups]


def grouped(described: Described, options: JobOptions) -> list[Group]:
    """The cases, by what they need, in the suite's order."""
    policy = cast(dict[str, Any], described.document.get("policy") or {})
    of_all = {name: policy.get(f"{name}_per_case") for name in ("cpus", "gpus", "memory_gb")}
    by_needs: dict[tuple[float | None, ...], list[str]] = {}
    for case in cast(list[dict[str, Any]], described.document["cases"]):
        needs = cast(dict[str, Any], case.get("resources") or of_all)
        by_needs.setdefault(tuple(needs.get(name) for name in of_all), []).append(str(case["variant"]))
    at_once = options.parallelism or int(described.document.get("parallelism") or 1)
    file = PurePosixPath(Path(described.command[1]).relative_to(described.root).as_posix())
    command = (options.python, str(file), *options.flags)
    stem = options.name or dns_label(str(described.document["experiment"]))
    return [
        Group(
            stem if len(by_needs) == 1 else f"{stem}-{number}",
            tuple(variants),
            dict(zip(of_all, values, strict=True)),
            float(policy.get("grace_s") or 10.0),
            min(at_once, len(variants)),
            command,
        )
        for number, (values, variants) in enumerate(by_needs.items(), start=1)
    ]


NAME_LENGTH = 40
"""Pods add an index and a suffix to a Job's name, and the hostname of a pod has at most 63 characters."""


def dns_label(text: str) -> str:
    """A name that Kubernetes allows (RFC 1123) for one that a folder has."""
    label = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return label[:NAME_LENGTH].rstrip("-") or "suite"


def name_problems(options: JobOptions) -> list[str]:
    if options.name is None or dns_label(options.name) == options.name:
        return []
    allowed = f"lower-case letters, digits and dashes, at most {NAME_LENGTH}"
    return [f"--name {options.name}: use {allowed}, for example {dns_label(options.name)!r}."]


def script(group: Group, index: str, cases: str, results_dir: str, *, then: str = "") -> str:
    """What a shell does for one index.

    Args:
        index: A shell expression for it.
        cases: Where `sed` finds the lines of the cases: a file, or a here-document.
        results_dir: Where the runner puts results, as a shell reads it.
        then: What follows; if nothing does, the runner takes the shell's place, and with it the scheduler's signals.
    """
    command = (
        f'{shlex.join(group.command)} --results-dir {results_dir} --only "$only" --note "{group.name}, index {index}"'
    )
    lines = ["set -u", f'only=$(sed -n "$(({index} + 1))p" {cases})', command if then else f"exec {command}"]
    return "\n".join(lines) + "\n" + then


# --- Kubernetes ------------------------------------------------------------------------------------------------------


def kubernetes_problems(groups: Sequence[Group], options: JobOptions) -> list[str]:
    problems = name_problems(options)
    if options.image is None:
        problems.append("--image: name the container image that holds the project, its Python and git.")
    if options.results is None:
        problems.append("--results: name a PersistentVolumeClaim that all pods can write to (ReadWriteMany).")
    elif dns_label(options.results.replace(".", "-")) != options.results.replace(".", "-"):
        problems.append(f"--results {options.results}: no PersistentVolumeClaim can have this name.")
    for group in groups:
        gpus = group.needs["gpus"] or 0
        if gpus != int(gpus):
            problems.append(f"case {group.variants[0]!r} asks for {gpus:g} GPUs: a pod gets whole devices.")
        if len(group.variants) > MOST_INDEXES or len(group.cases.encode()) > CONFIG_MAP_BYTES:
            problems.append(
                f"{len(group.variants)} cases are too many for one Job ({MOST_INDEXES} indexes, their names in 1 MiB): "
                "export parts of them with --only."
            )
    return problems


def kubernetes_job(group: Group, options: JobOptions) -> ExportedJob:
    """A ConfigMap with the cases and the script of an index, and the indexed Job (Kubernetes 1.33 and newer)."""
    data = {"cases": group.cases, "run.sh": script(group, "$JOB_COMPLETION_INDEX", "/suitecase/cases", "/results")}
    content = json.dumps([data, options.image, options.results, options.project_dir, dict(group.needs)])
    # Another content gets another name: a Job's template can't be changed once it is there.
    name = f"{group.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"
    labels = {"app.kubernetes.io/managed-by": "suitecase", "app.kubernetes.io/name": group.name}
    config_map = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}, "immutable": True,
        "data": data,
    }  # fmt: skip
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": len(group.variants),
            "parallelism": group.parallelism,
            "backoffLimitPerIndex": 1,
            "podFailurePolicy": {"rules": failure_rules()},
            "template": {"metadata": {"labels": labels}, "spec": pod(name, group, options)},
        },
    }
    comment = (
        f"{len(group.variants)} cases, an index each. Made by `suitecase export-job`, and not tried there.\n"
        "Start:  kubectl apply -f THIS-FILE\n"
        f"Follow: kubectl get pods -l job-name={name}\n"
        f"End:    kubectl delete job/{name} configmap/{name}"
    )
    return ExportedJob(group.name, group.variants, (config_map, job), comment)


def failure_rules() -> list[dict[str, Any]]:
    """Which failures of a pod another pod may mend: retries of a case are the runner's, within its pod."""
    return [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailIndex", "onExitCodes": {"containerName": "case", "operator": "In", "values": [1, 2]}},
    ]


def pod(name: str, group: Group, options: JobOptions) -> dict[str, Any]:
    """What runs one index."""
    gpus, cpus, memory_gb = (group.needs[need] for need in ("gpus", "cpus", "memory_gb"))
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    if cpus:
        requests["cpu"] = f"{math.ceil(cpus * 1000)}m"
    if memory_gb:
        requests["memory"] = limits["memory"] = str(math.ceil((memory_gb + RUNNER_MEMORY_GB) * 1e9))
    if gpus:
        limits[options.gpu_resource] = str(int(gpus))
    resources = {name: values for name, values in (("requests", requests), ("limits", limits)) if values}
    return {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(group.grace_s) + END_MARGIN_S,
        "containers": [
            {
                "name": "case",
                "image": options.image,
                "workingDir": options.project_dir,
                "command": ["/bin/sh", "/suitecase/run.sh"],
                **({"resources": resources} if resources else {}),
                "volumeMounts": [
                    {"name": "suitecase", "mountPath": "/suitecase", "readOnly": True},
                    {"name": "results", "mountPath": "/results"},
                ],
            }
        ],
        "volumes": [
            {"name": "suitecase", "configMap": {"name": name}},
            {"name": "results", "persistentVolumeClaim": {"claimName": options.results}},
        ],
    }


# --- SkyPilot --------------------------------------------------------------------------------------------------------

BUCKETS = ("s3://", "gs://", "r2://", "oci://", "cos://", "nebius://", "https://")

COPY_RESULTS = """\
code=$?
cd ~/suitecase-results || exit "$code"
for run in */[0-9]* */.runs/[0-9]*; do
  if [ -d "$run" ]; then mv "$run" "$run-i$index"; fi
done
cp -R . "$SUITECASE_RESULTS/" || exit 1
exit "$code"
"""
"""The runner renames folders and locks files, which a mounted bucket can't, so results are copied when it has ended.
Two machines may have begun a run in the same second: the index in its name keeps them apart."""


def skypilot_problems(groups: Sequence[Group], options: JobOptions) -> list[str]:
    problems = name_problems(options)
    if options.results is None:
        problems.append("--results: name the bucket that results go to, such as s3://my-bucket/results.")
    elif not options.results.startswith(BUCKETS):
        problems.append(f"--results {options.results}: name a bucket, beginning with {', '.join(BUCKETS)}.")
    if options.image is None and options.setup is None:
        problems.append("--setup or --image: say how a fresh machine gets the project's packages (`pip install -e .`).")
    if any(group.needs["gpus"] for group in groups) and options.gpu is None:
        problems.append("--gpu: name the device that SkyPilot is to look for, such as H100: the cases need GPUs.")
    if len(groups) > 1:
        examples = " and ".join(f"--only {shlex.quote(group.variants[0])}" for group in groups[:2])
        problems.append(
            f"cases ask for {len(groups)} kinds of resources, and a SkyPilot task has one: export the cases of each by "
            f"themselves, as with {examples}."
        )
    return problems


def skypilot_task(group: Group, options: JobOptions) -> ExportedJob:
    """A task that runs the case of an index: SUITECASE_INDEX, or the rank that a pool gives to each of many jobs."""
    gpus, cpus, memory_gb = (group.needs[need] for need in ("gpus", "cpus", "memory_gb"))
    resources: dict[str, Any] = {}
    if cpus:
        resources["cpus"] = f"{math.ceil(cpus)}+"
    if memory_gb:
        resources["memory"] = f"{math.ceil((memory_gb + RUNNER_MEMORY_GB) * 1e9 / 2**30)}+"
    if gpus:
        resources["accelerators"] = {options.gpu: int(gpus) if gpus == int(gpus) else gpus}
    if options.image:
        resources["image_id"] = f"docker:{options.image}"
    task: dict[str, Any] = {"name": group.name, "workdir": "."}
    if resources:
        task["resources"] = resources
    task["envs"] = {"SUITECASE_INDEX": "", "SUITECASE_RESULTS": "/suitecase-bucket"}
    task["file_mounts"] = {"/suitecase-bucket": {"source": options.results, "mode": "MOUNT"}}
    if options.setup:
        task["setup"] = options.setup.rstrip("\n") + "\n"
    listed = f"<<'.end'\n{group.cases}.end\n"  # no case's name begins with a dot
    task["run"] = "index=${SUITECASE_INDEX:-$SKYPILOT_JOB_RANK}\n" + script(
        group, "$index", listed, "~/suitecase-results", then=COPY_RESULTS
    )
    last = len(group.variants) - 1
    comment = (
        f"{len(group.variants)} cases, an index each. Made by `suitecase export-job`, and not tried there.\n"
        "Start, in the project's folder:\n"
        f"  for index in $(seq 0 {last}); do\n"
        f"    sky jobs launch -y -d -n {group.name}-$index --env SUITECASE_INDEX=$index THIS-FILE\n"
        "  done\n"
        f"or, on a pool of workers:  sky jobs launch --pool POOL --num-jobs {last + 1} THIS-FILE"
    )
    return ExportedJob(group.name, group.variants, (task,), comment)


# --- Written down ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """A scheduler: what it must be told, and what it is given."""

    problems: Callable[[Sequence[Group], JobOptions], list[str]]
    export: Callable[[Group, JobOptions], ExportedJob]


TARGETS: Mapping[str, Target] = {
    "kubernetes": Target(kubernetes_problems, kubernetes_job),
    "skypilot": Target(skypilot_problems, skypilot_task),
}


def yaml_of(jobs: Sequence[ExportedJob]) -> str:
    """The documents of jobs as YAML, texts of several lines as people write them.

    Raises:
        SuitecaseError: PyYAML isn't installed.
    """
    try:
        import yaml
    except ImportError:
        raise missing_extra("suitecase export-job", "jobs") from None

    class Dumper(yaml.SafeDumper):
        """Writes a text of several lines as a block; nothing by reference."""

        def ignore_aliases(self, data: object) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        return yaml.ScalarNode("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    written: list[str] = []
    for job in jobs:
        comment = "".join(f"# {line}".rstrip() + "\n" for line in job.comment.split("\n"))
        documents = [
            yaml.dump(document, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)
            for document in job.documents
        ]
        written.append(comment + "---\n".join(documents))
    return "---\n".join(written)
