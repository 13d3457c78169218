"""Answers that are recorded once and played back, so that an analysis runs again without asking, or paying, anybody.

    from suitecase.cassettes import Cassette

    ask = Cassette("answers.jsonl", "record").wrap(ask_model)       # asks, and appends each answer
    ask = Cassette("answers.jsonl", "replay").wrap(ask_model)       # asks nobody

A request is known by the SHA-256 of its canonical JSON, exactly. One that was asked several times has several answers,
and they are played in their order: first those of the same scope (case, sample, epoch), each once in a process. What
was never recorded is an error that names what differs from the nearest request that was. Errors are recorded too, and
played where no answer was.

The file has a line of JSON for each call: `v`, `request_sha256`, `scope`, `time`, `latency_s`, `request`, and `answer`
or `error`. Any number of processes may append; a line that a kill has torn is passed over.
"""

from suitecase.cassettes.cassette import Cassette, NotRecordedError, RecordedError
from suitecase.cassettes.requests import CassetteError

__all__ = ["Cassette", "CassetteError", "NotRecordedError", "RecordedError"]
