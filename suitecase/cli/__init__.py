"""The command `suitecase`: asks run directories, and starts what their suites can do."""

__all__ = ["main"]


def main() -> None:
    """Read the command line, answer, exit: 0 yes, 1 no or failed, 2 wrong use."""
    from suitecase.cli.app import run

    run()
