"""`export-job`: hand a suite to a scheduler that has no launcher here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from suitecase.cli.common import AsJson, fail, print_json, words_of

__all__ = ["export_job"]


def export_job(
    suite: Annotated[Path, typer.Argument(metavar="SUITE", help="The suite's file.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="TARGET", help="kubernetes or skypilot.", autocompletion=words_of("kubernetes", "skypilot")
        ),
    ],
    image: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Container image with Python, git, packages and project.")
    ] = None,
    results: Annotated[
        str | None, typer.Option(metavar="PLACE", help="A PersistentVolumeClaim, or a bucket's URI for SkyPilot.")
    ] = None,
    project_dir: Annotated[
        str, typer.Option(metavar="DIR", help="Where the project lies in the image (Kubernetes).")
    ] = "/project",
    setup: Annotated[
        str | None, typer.Option(metavar="COMMANDS", help="What a fresh machine does first (SkyPilot).")
    ] = None,
    python: Annotated[str, typer.Option(metavar="COMMAND", help="The interpreter there.")] = "python",
    gpu: Annotated[str | None, typer.Option(metavar="NAME", help="The device to look for: H100 (SkyPilot).")] = None,
    gpu_resource: Annotated[
        str, typer.Option(metavar="NAME", help="What a device is called there (Kubernetes).")
    ] = "nvidia.com/gpu",
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Of the job; by default the experiment's.")] = None,
    parallelism: Annotated[
        int | None, typer.Option("-p", "--parallelism", min=1, metavar="N", help="Cases at a time (Kubernetes).")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="PATTERN", help="As of the suite.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="As of the suite.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where it goes; by default it is printed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a manifest that runs a suite elsewhere, an index per case."""
    from dataclasses import asdict

    from suitecase.queries.estimate import ask_suite
    from suitecase.queries.job_export import TARGETS, JobOptions, export_jobs, yaml_of

    if to not in TARGETS:
        fail([f"--to {to}: there are {' and '.join(TARGETS)}."])
    options = JobOptions(
        image=image, project_dir=project_dir, results=results, python=python, name=name, setup=setup, gpu=gpu,
        gpu_resource=gpu_resource, parallelism=parallelism,
        flags=tuple(word for text in set_ or [] for word in ("--set", text)),
    )  # fmt: skip
    patterns = [word for pattern in only or [] for word in ("--only", pattern)]
    jobs = export_jobs(ask_suite(suite, [*options.flags, *patterns]), to, options)
    if as_json:
        print_json([asdict(job) for job in jobs])
        return
    written = yaml_of(jobs)
    if output is None:
        print(written, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(written)
    except FileExistsError:
        fail([f"{output} is there already: nothing is overwritten. Name another file."])
