"""How much of the credentials' life is left: the one place where freshness is decided.

Ages are measured by CLOCK_BOOTTIME from the moment of issue, because the wall clock may step; the service's clock says
when credentials were issued and when they expire.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from rolekeeper.model import Freshness, Holding, Instant, IssueRecord, Lifetime
from rolekeeper.values import replace

FRESH_SHARE = 0.25  # of the life, that must be left


def age(credentials: Lifetime, now: Instant) -> timedelta:
    """How long ago `credentials` were issued, whatever the wall clock did since."""
    return now.boot - credentials.issued_boot


def service_time(credentials: Lifetime, now: Instant) -> datetime:
    """What the service's clock shows now."""
    return credentials.issued_at + age(credentials, now)


def is_age_known(credentials: Lifetime) -> bool:
    """Whether `credentials` are of this boot; the age of earlier ones rests on a wall clock that may be wrong."""
    return credentials.issued_boot >= timedelta(0)


def freshness(credentials: Lifetime | None, now: Instant) -> Freshness:
    """How much of the life of `credentials` is left; credentials of unknown age are never fresh."""
    if credentials is None:
        return Freshness.ABSENT
    life = credentials.expires_at - credentials.issued_at
    left = life - age(credentials, now)
    if left <= timedelta(0):
        return Freshness.EXPIRED
    return Freshness.FRESH if is_age_known(credentials) and left > life * FRESH_SHARE else Freshness.STALE


def is_spent(credentials: Lifetime, share: float, now: Instant) -> bool:
    """Whether that share of the life is over."""
    return age(credentials, now) >= (credentials.expires_at - credentials.issued_at) * share


def next_change(credentials: Lifetime | None, now: Instant) -> timedelta | None:
    """How long until `freshness` gives another value; None when it never will."""
    if credentials is None:
        return None
    life = credentials.expires_at - credentials.issued_at
    return next(
        (left for mark in (life * (1 - FRESH_SHARE), life) if (left := mark - age(credentials, now)) > timedelta(0)),
        None,
    )


def of_issue(issue: IssueRecord, boot_id: str, now: Instant) -> Lifetime | None:
    """The life of recorded credentials, as this boot measures it; None when their age is unknown.

    After another boot, only the wall clock shows the age. If that says that they were issued after this machine was
    started, it is wrong, and they may have expired.
    """
    if issue.boot_id == boot_id:
        return issue.life
    issued_boot = now.boot - (now.wall - issue.life.issued_at)
    return replace(issue.life, issued_boot=issued_boot) if issued_boot < timedelta(0) else None


def output_freshness(holding: Holding, life: Lifetime | None, now: Instant) -> Freshness:
    """The freshness of what an output holds; `life` is that of our credentials, None when their age is not known."""
    if holding is Holding.OURS:
        return freshness(life, now) if life is not None else Freshness.UNKNOWN
    return {Holding.OTHER: Freshness.HELD_BY_ANOTHER, Holding.ABSENT: Freshness.ABSENT}.get(holding, Freshness.UNKNOWN)


def worst(found: Iterable[Freshness]) -> Freshness:
    """The worst of several outputs, in the order in which Freshness lists them; unknown when there is none."""
    return max(found, key=list(Freshness).index, default=Freshness.UNKNOWN)
