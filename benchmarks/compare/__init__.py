"""Other ways to run many cases, each in an environment of its own, beside ours in the same table."""
