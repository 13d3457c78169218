"""`--launcher warm`: cases as forks of one process that has imported the installed modules already.

    launcher.py               `Warm`, what the runner sees
    guard.py                  the guardian of a warm run: which cases are forked, and all that may happen to the server
    server.py                 the server's process, seen from the guardian
    site/sitecustomize.py     the server: preloads, forks
    preloads.py               what to preload, and where that is kept

docs/warm.md says what to expect of it, docs/design/0012-warm.md why it is built so.
"""

from suitecase.launchers.warm.launcher import Warm

__all__ = ["Warm"]
