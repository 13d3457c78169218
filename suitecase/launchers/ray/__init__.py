"""The launcher `ray`: attempts as jobs of a Ray cluster."""

from suitecase.launchers.ray.driver import Ray
from suitecase.launchers.ray.options import RayOptions

__all__ = ["Ray", "RayOptions"]
