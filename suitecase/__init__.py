"""Reads run directories and answers questions about them.

The package and the two reference files, `experiment_config` and `experiment_runner`, share the run
directory on disk and nothing else: neither imports the other.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
