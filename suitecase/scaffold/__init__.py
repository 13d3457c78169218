"""Writes the files by which a project begins, and brings the copies among them up to date. Overwrites nothing else."""

from suitecase.scaffold.copies import Copy, compare_copies, replace_copies
from suitecase.scaffold.project import TEMPLATES, Made, make_project, project_python

__all__ = ["TEMPLATES", "Copy", "Made", "compare_copies", "make_project", "project_python", "replace_copies"]
