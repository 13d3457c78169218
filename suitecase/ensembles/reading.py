"""What a call's end means: a vote, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from suitecase.ensembles.calls import Ending
from suitecase.ensembles.normalisers import Normaliser
from suitecase.ensembles.records import EnsembleResult, Member, Reply, Status, Vote, key_of, plain

if TYPE_CHECKING:
    from suitecase.ensembles.ensemble import Ensemble

__all__ = ["spent", "vote_of"]

MESSAGE_LIMIT = 2000


def vote_of(ensemble: Ensemble, member: Member, ending: Ending) -> Vote:
    """The vote of a member whose call has ended."""
    facts: dict[str, Any] = {"member": member.name, "latency_s": ending.latency_s}
    if ending.error is not None:
        facts |= spent(ending.error, member)
        if ending.timed_out:
            return Vote(status=Status.TIMED_OUT, error=str(ending.error), **facts)
        return Vote(status=Status.FAILED, error=text_of(ending.error), **facts)
    reply = reply_of(ending.value)
    facts |= spent(reply, member) | {"raw": reply.answer}
    if reply.answer is None or (isinstance(reply.answer, str) and not reply.answer.strip()):
        return Vote(status=Status.EMPTY, error="it gave nothing", **facts)
    try:
        vote = Vote(status=Status.ANSWERED, **facts, **read(ensemble, member, reply))
        why = unusable(ensemble, member, vote)
    except Exception as error:  # the user's normaliser, or a value that JSON doesn't know
        return Vote(status=Status.UNREADABLE, error=text_of(error), **facts)
    return replace(vote, status=Status.UNREADABLE, error=why) if why else vote


def reply_of(value: object) -> Reply:
    """What a member returned; an ensemble that is a member is as sure of its answer as it agrees."""
    if isinstance(value, EnsembleResult):
        amounts = (value.cost_usd, value.input_tokens, value.output_tokens)
        return Reply(value.answer if value.text is None else value.text, value.agreement, *amounts)
    return value if isinstance(value, Reply) else Reply(value)


def read(ensemble: Ensemble, member: Member, reply: Reply) -> dict[str, Any]:
    """The fields of a vote that say what is voted for.

    Raises:
        ValueError: If the reply can't be read.
    """
    confidence = None if reply.confidence is None else float(reply.confidence)
    if confidence is not None and not 0 <= confidence <= 1:
        raise ValueError(f"its confidence is {confidence!r}: from 0 to 1")
    ranking: tuple[str, ...] = ()
    if ensemble.strategy.ranks and member is not ensemble.escalate_to:
        answers = ranked(reply.answer, ensemble.normaliser)
        answer, ranking = answers[0], tuple(map(key_of, answers))
        if len(set(ranking)) < len(ranking) or None in answers:
            raise ValueError("a ranked vote names each option once")
    else:
        answer = plain(ensemble.normaliser(reply.answer))
    key = key_of(answer)
    return {"answer": answer, "key": key, "choice": key, "ranking": ranking, "confidence": confidence}


def ranked(raw: object, normaliser: Normaliser) -> list[object]:
    """The answers of a list, best first.

    Raises:
        ValueError: If it is no list, or an empty one.
    """
    if isinstance(raw, str) or not isinstance(raw, Sequence) or not raw:
        raise ValueError("a ranked vote is a list, best first")
    return [plain(normaliser(each)) for each in cast("Sequence[object]", raw)]


def unusable(ensemble: Ensemble, member: Member, vote: Vote) -> str | None:
    """Why a vote can't count, if it can't."""
    if vote.answer is None:
        return f"the normaliser {ensemble.normaliser_name!r} finds no answer in it"
    if member is ensemble.escalate_to:
        return None  # it decides alone
    is_last = member is ensemble.members[-1]
    return ensemble.strategy.unusable(vote) or ensemble.execution.unusable(vote, is_last=is_last)


def spent(told: object, member: Member) -> dict[str, Any]:
    """What a reply or an error says that the call cost; else the member's price, as an estimate."""
    cost_usd = None if told is None else amount_of(told, "cost_usd")
    tokens = {f"{way}_tokens": amount_of(told, f"{way}_tokens") for way in ("input", "output")}
    found: dict[str, Any] = {name: int(count) for name, count in tokens.items() if count is not None}
    if cost_usd is None and member.cost_usd is not None:
        return {**found, "cost_usd": member.cost_usd, "cost_estimated": True}
    return {**found, "cost_usd": cost_usd}


def amount_of(told: object, name: str) -> float | None:
    """An amount that a reply or an error tells; None if it is no number of at least 0."""
    value = getattr(told, name, None)
    if value is None:
        return None
    try:
        amount = float(value)
    except (TypeError, ValueError):
        return None
    return amount if 0 <= amount < math.inf else None


def text_of(error: BaseException) -> str:
    """What an error is and says, at most 2000 characters."""
    try:
        return f"{type(error).__name__}: {error}"[:MESSAGE_LIMIT]
    except Exception as raised:
        return f"{type(error).__name__}, whose text can't be made: {type(raised).__name__}"
