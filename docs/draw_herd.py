"""Draws how a fleet asks: `python docs/draw_herd.py > docs/herd.md` (`make herd`), about a minute for 100,000 nodes.

Delays and jitter are those of `core.loop.delays`. The loop around them is that of `core.loop.transitions` without its
records, which would take ten times as long. A test compares the two, and another counts the goal that the page states.
"""  # noqa: INP001 - a script, no package

import argparse
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate

from rolekeeper.core.loop import delays

MINUTE, HOUR = 60, 3600  # seconds, like every time here
REFRESH = HOUR * 0.5  # of a token that lives for an hour
WATCHED = 6 * HOUR
NEVER = float("inf")
CHART_STEP = 5 * MINUTE
LEAST = delays.LEAST_INTERVAL.total_seconds()
GOAL_SHARE, GOAL_FROM = 0.02, 10  # of a fleet in one second, after an outage of so many seconds or more
ENDLESS = 20 * MINUTE  # of an outage; the fleet is spread out over the longest delay by then
TENTHS = 10  # of a second: a second may begin at any of them
OUTAGES = (2, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 30 * MINUTE, HOUR)
WORDS = ("2 s", "10 s", "15 s", "30 s", "1 min", "2 min", "5 min", "30 min", "1 h")
CHOSEN = "1 min"  # of WORDS, for the second chart
CHOSEN_STEP, CHOSEN_END = 10, 250  # all nodes have come back by then
TROUBLES = {"fails at once": 0, "is silent, until `read_timeout`": 30, "hangs, until `attempt_timeout`": 2 * MINUTE}
PAGE = """\
# How a fleet asks

Drawn by `make herd` (docs/draw_herd.py): {nodes:,} nodes with tokens that live for an hour, one request an attempt.
Nodes whose attempts are evenly distributed would make {even:,} requests a second.

**The goal:** after any outage of 10 s or more, no second sees more than 2% of a fleet that booted together: {goal:,} of
{nodes:,} nodes.

## Booted together

All nodes boot at the same instant and request their first token within that second: the first attempt has no delay,
because a machine that boots needs its credentials. Each refresh after that is a tenth earlier or later. The busiest
second of every five minutes:

```mermaid
xychart-beta
    title "{nodes:,} nodes booted together: requests in the busiest second"
    x-axis "minutes after boot" {first} --> {last}
    y-axis "requests a second" 0 --> {top}
    line {busiest}
```

| | requests in the busiest second |
|---|---|
| at boot | {nodes:,} |
| in the rest of the first hour | {first_hour:,} |
| in the sixth hour | {last_hour:,} |
| without jitter, every half hour | {nodes:,} |
| SSM Agent, which has none, every half hour | {nodes:,} |

The first refresh is the only one that the boot has brought close together. With `[refresh] at` at its least, 0.1, it
comes after 6 minutes, a tenth earlier or later, and its busiest second sees {early:,} requests. A fleet that is refused
comes again after 5 minutes, a tenth earlier or later ({refused:,} requests), and so does one that hibernates.

## Booted together into an outage

All nodes boot at the same instant, and the service gives no usable answer. Each retry that comes in one second would
succeed if the service came back just then, and later seconds see fewer nodes, because some have succeeded. So the
busiest second of an outage that never ends is a bound for every outage that does:

| the service | busiest second of the first 10 | busiest second after that |
|---|---|---|
{endless}

- The first retries come after 1, 2 and 4 seconds. They are for short faults, and all of them are over before 10 seconds
  have passed; until then a fleet is together.
- The next come after 90, 180 and every 240 seconds, with full jitter: from a tenth of that delay to the whole. 2% in a
  second means that a fleet needs 50 seconds or more to come back, whatever the outage, so a retry after 8 seconds
  cannot keep the goal. The last column below has the figures for delays that double from 1 to 240 seconds.
- An attempt that hangs uses up a part of its delay. The next one comes within 81 seconds or more, from a second after
  its end on.

## The service comes back at once

It fails at once for the time in the first column, and then answers everything. The requests in the busiest second after
that moment, counting the first of every node, which is the one that succeeds:

| outage | evenly distributed before | booted together as it began | the same, with delays of 1, 2, 4, 8 ... 240 s |
|---|---|---|---|
{rows}

The moments after an outage of {chosen}, the busiest second of every ten, of the fleet that booted together and of the
other:

```mermaid
xychart-beta
    title "{nodes:,} nodes after an outage of {chosen}: requests in the busiest second"
    x-axis "seconds after the service came back" 0 --> {last_return}
    y-axis "requests a second" 0 --> {top_return}
    line {return_together}
    line {return_evenly}
```

- A service that cannot bear this will throttle. That counts as a failure, so a node that is throttled backs off
  further, up to 240 seconds; it does not come again at once.
- Every node asks again within four minutes of the service's recovery ([request-bound.md](request-bound.md)).

SSM Agent sends each request four times in a burst and then waits 2^n seconds, a fifth of that, and 10 to 19 seconds
more, up to about half an hour (docs/protocol.md, section 5). It sends four times as many requests, and its last nodes
come back half an hour after the service.
"""


@dataclass(frozen=True, slots=True)
class Failing:
    """How a service fails: after how long, and between which seconds after its beginning the next attempt comes then.

    The windows are those of the first failure, the second and so on; the last one repeats.
    """

    takes: float
    windows: Sequence[tuple[float, float]]

    def interval(self, failures: int, share: float) -> float:
        """From the beginning of an attempt to the next one's."""
        earliest, latest = self.windows[min(failures, len(self.windows)) - 1]
        delay = max(earliest + (latest - earliest) * share, LEAST)
        return delay if delay > self.takes else self.takes + LEAST


def nodes(count: int) -> Iterator[str]:
    """So many node ids."""
    return (f"mi-{number * 0x9E3779B97F4A7C15 % 16**17:017x}" for number in range(count))


def failing(takes: float) -> Failing:
    """A service that lets each attempt fail after so long."""
    took = timedelta(seconds=takes)
    both = [
        [delays.failed_delay(failures, took, share).total_seconds() for share in (0, 1)] for failures in range(1, 8)
    ]
    return Failing(takes, [(earliest, latest) for earliest, latest in both])


def doubling() -> Failing:
    """The delays that the page compares with: 1, 2, 4, 8 ... 240 s, from a tenth to the whole."""
    return Failing(0, [(delay * 0.1, delay) for delay in (*(float(1 << power) for power in range(8)), 240.0)])


def attempts(name: str, begins: float, until: float, fails_from: float, failed: Failing) -> Iterator[float]:
    """When a node's attempts begin; from `fails_from` on they fail, before that they bring a token."""
    at, number, failures = begins, 1, 0
    while at < until:
        yield at
        share = delays.jitter(name, number)
        if at >= fails_from:
            failures += 1
            at += failed.interval(failures, share)
        else:
            failures = 0
            at += REFRESH * (1 + delays.JITTER * (2 * share - 1))
        number += 1


def booted_together(count: int) -> Counter[int]:
    """Requests in each second of six hours after a boot; the service is healthy."""
    return Counter(int(at) for name in nodes(count) for at in attempts(name, 0, WATCHED, NEVER, failing(0)))


def endless(count: int, takes: float) -> tuple[int, int]:
    """Requests in the busiest second of an outage without end: of its first seconds, and of those that the goal counts.

    The fleet boots together as the outage begins.
    """
    failed = failing(takes)
    tenths = [0] * (ENDLESS * TENTHS)
    for name in nodes(count):
        for at in attempts(name, 0, ENDLESS, 0, failed):
            tenths[int(at * TENTHS)] += 1
    sums = [0, *accumulate(tenths)]
    seconds = [sums[tenth + TENTHS] - sums[tenth] for tenth in range(len(tenths) - TENTHS)]
    first = GOAL_FROM * TENTHS
    return max(seconds[: first - TENTHS + 1]), max(seconds[first:])


def returns(count: int, failed: Failing, *, together: bool) -> dict[str, Counter[int]]:
    """For each outage in WORDS, requests in each second after it: every node's first after its end."""
    begins = 0 if together else REFRESH * (1 + delays.JITTER)  # when all nodes have asked once
    after: dict[str, Counter[int]] = {word: Counter() for word in WORDS}
    for name in nodes(count):
        first = 0 if together else delays.jitter(name, 0) * REFRESH
        asked = list(attempts(name, first, begins + OUTAGES[-1] + 2 * REFRESH, begins, failed))
        for seconds, length in zip(after.values(), OUTAGES, strict=True):
            seconds[int(asked[bisect_left(asked, begins + length)] - begins - length)] += 1
    return after


def busiest_of(count: int, around: float) -> int:
    """Requests in the busiest second of attempts that come so many seconds after the first, a tenth more or less."""
    moments = (around * (1 + delays.JITTER * (2 * delays.jitter(name, 1) - 1)) for name in nodes(count))
    return max(Counter(map(int, moments)).values())


def _busiest(seconds: Counter[int], begin: int, end: int, step: int) -> list[int]:
    """Requests in the busiest second of every `step` seconds."""
    return [max(seconds[one] for one in range(at, at + step)) for at in range(begin, end, step)]


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=100_000)
    count = parser.parse_args().nodes
    seconds = booted_together(count)
    at_once = failing(0)
    evenly = returns(count, at_once, together=False)
    together = returns(count, at_once, together=True)
    doubled = returns(count, doubling(), together=True)
    steps = _busiest(seconds, CHART_STEP, WATCHED, CHART_STEP)
    chosen_evenly, chosen_together = (_busiest(one[CHOSEN], 0, CHOSEN_END, CHOSEN_STEP) for one in (evenly, together))
    columns = ([max(after.values()) for after in one.values()] for one in (evenly, together, doubled))
    both = {trouble: endless(count, takes) for trouble, takes in TROUBLES.items()}
    drawn = PAGE.format(
        nodes=count,
        goal=round(count * GOAL_SHARE),
        even=round(count / REFRESH),
        first=CHART_STEP // MINUTE,
        last=WATCHED // MINUTE - CHART_STEP // MINUTE,
        top=max(steps),
        busiest=steps,
        first_hour=max(seconds[second] for second in range(1, HOUR)),
        last_hour=max(seconds[second] for second in range(5 * HOUR, WATCHED)),
        early=busiest_of(count, HOUR * 0.1),
        refused=busiest_of(count, delays.REFUSED_BACKOFF[0].total_seconds()),
        endless="\n".join(f"| {trouble} | {first:,} | {then:,} |" for trouble, (first, then) in both.items()),
        rows="\n".join(f"| {word} | {a:,} | {b:,} | {c:,} |" for word, a, b, c in zip(WORDS, *columns, strict=True)),
        chosen=CHOSEN,
        last_return=CHOSEN_END - CHOSEN_STEP,
        top_return=max(chosen_evenly + chosen_together),
        return_evenly=chosen_evenly,
        return_together=chosen_together,
    )
    sys.stdout.write(drawn)


if __name__ == "__main__":
    main()
