"""Draws how a fleet asks: `python docs/draw_herd.py > docs/herd.md` (`make herd`), under a minute for 100,000 nodes.

Delays and spread are those of `core.schedule`; the loop around them is `core.supervisor`'s without its records, which
would take ten times as long. A test holds the two together, and a smaller fleet to what the page says.
"""  # noqa: INP001 - a script, no package

import argparse
import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from rolekeeper.core.loop import delays

MINUTE, HOUR = 60, 3600  # seconds, like every time here
REFRESH = HOUR * 0.5  # of a token that lives for an hour
WATCHED = 6 * HOUR
NEVER = float("inf")
CHART_STEP = 5 * MINUTE
LEAST = delays.LEAST_INTERVAL.total_seconds()
BACKOFF = tuple(delays.failed_delay(failures).total_seconds() for failures in range(1, 10))  # the last one for ever
OUTAGES = (0, 2, 10, MINUTE, 5 * MINUTE, 10 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR)
WORDS = ("none", "2 s", "10 s", "1 min", "5 min", "10 min", "30 min", "1 h", "2 h")
CHOSEN = "5 min"  # of WORDS, for the second chart
CHOSEN_STEP, CHOSEN_END = 10, 270  # all nodes have come back by then
PAGE = """\
# How a fleet asks

Drawn by `make herd` (docs/draw_herd.py): {nodes:,} nodes with tokens that live for an hour, one request an attempt.
If their moments were spread evenly, {nodes:,} nodes would make {even:,} requests a second.

## Booted together

All nodes boot at the same instant, and get their first token within that second: the first attempt is not delayed, for
a machine that boots wants its credentials. What follows is up to the spread of a tenth. The busiest second of every
five minutes:

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
| without spread, every half hour | {nodes:,} |
| SSM Agent, which has none, every half hour | {nodes:,} |

## The service comes back at once

It gives no usable answer for so long, and from one moment on it answers everything. How many requests come in the
busiest second after that moment, counting the first of every node, which is the one that succeeds:

| outage | the fleet asked evenly before | it booted together as the outage began | the same without spread |
|---|---|---|---|
{rows}

The moments after an outage of {chosen}, the busiest second of every ten; above, the fleet that booted together:

```mermaid
xychart-beta
    title "{nodes:,} nodes after an outage of {chosen}: requests in the busiest second"
    x-axis "seconds after the service came back" 0 --> {last_return}
    y-axis "requests a second" 0 --> {top_return}
    line {return_together}
    line {return_evenly}
```

- A fleet that asked evenly before stays so, whatever the outage: at most one in {evenly} of its nodes in a second.
- A fleet that booted together into the outage is not apart in the first minute. Its first retries come after 1, 2 and 4
  seconds and are spread by a tenth of that, so a service that comes back within seconds sees half of the fleet in one
  second. After five minutes it sees about one node in fifty, and every retry takes them further apart.
- A service that does not bear what it gets will throttle. That counts as a failure, so whoever is throttled goes on
  backing off, up to 240 seconds apart; it does not come again at once.
- Every node has credentials within five minutes of the service's recovery ([request-bound.md](request-bound.md)).

SSM Agent sends each request four times in a burst and then waits 2^n seconds, a fifth of that, and 10 to 19 seconds
more, up to about half an hour (docs/protocol.md, section 5). Its waves are wider than ours in the first minute, four
times as many requests, and its last nodes come back half an hour after the service.
"""


def nodes(count: int) -> Iterator[str]:
    """So many node ids."""
    return (f"mi-{number * 0x9E3779B97F4A7C15 % 16**17:017x}" for number in range(count))


def attempts(name: str, begins: float, until: float, fails_from: float) -> Iterator[float]:
    """When a node's attempts begin; from `fails_from` on they fail, before that they bring a token."""
    at, number, failures = begins, 1, 0
    while at < until:
        yield at
        failures = failures + 1 if at >= fails_from else 0
        delay = BACKOFF[min(failures, len(BACKOFF)) - 1] if failures else REFRESH
        at += max(delay * delays.spread(name, number), LEAST)
        number += 1


def booted_together(count: int) -> Counter[int]:
    """Requests in each second of six hours after a boot; the service is well."""
    return Counter(int(at) for name in nodes(count) for at in attempts(name, 0, WATCHED, NEVER))


def returns(count: int, *, together: bool) -> tuple[Counter[int], ...]:
    """For each of OUTAGES, requests in each second after it: every node's first after its end."""
    begins = 0 if together else REFRESH * (1 + delays.SPREAD)  # when all nodes have asked once
    after: tuple[Counter[int], ...] = tuple(Counter() for _ in OUTAGES)
    for name in nodes(count):
        first = 0 if together else _phase(name) * REFRESH
        asked = list(attempts(name, first, begins + OUTAGES[-1] + 2 * REFRESH, begins))
        for seconds, length in zip(after, OUTAGES, strict=True):
            seconds[int(asked[bisect_left(asked, begins + length)]) - int(begins + length)] += 1
    return after


def recoveries(count: int, *, together: bool) -> tuple[int, ...]:
    """For each of OUTAGES, requests in the busiest second after it."""
    return tuple(max(seconds.values()) for seconds in returns(count, together=together))


def _busiest(seconds: Counter[int], begin: int, end: int, step: int) -> list[int]:
    """Requests in the busiest second of every `step` seconds."""
    return [max(seconds[one] for one in range(at, at + step)) for at in range(begin, end, step)]


def _phase(name: str) -> float:
    """Where in its half hour a node of a fleet that asks evenly begins: 0 to 1."""
    return (delays.spread(name, 0) - 1 + delays.SPREAD) / (2 * delays.SPREAD)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nodes", type=int, default=100_000)
    count = parser.parse_args().nodes
    seconds = booted_together(count)
    both = [dict(zip(WORDS, returns(count, together=one), strict=True)) for one in (False, True)]
    evenly, together = ([max(after.values()) for after in one.values()] for one in both)
    rows = zip(WORDS, evenly, together, strict=True)
    steps = _busiest(seconds, CHART_STEP, WATCHED, CHART_STEP)
    return_evenly, return_together = (_busiest(one[CHOSEN], 0, CHOSEN_END, CHOSEN_STEP) for one in both)
    drawn = PAGE.format(
        nodes=count,
        even=round(count / REFRESH),
        first=CHART_STEP // MINUTE,
        last=WATCHED // MINUTE - CHART_STEP // MINUTE,
        top=max(steps),
        busiest=steps,
        first_hour=max(seconds[second] for second in range(1, HOUR)),
        last_hour=max(seconds[second] for second in range(5 * HOUR, WATCHED)),
        rows="\n".join(f"| {outage} | {one:,} | {other:,} | {count:,} |" for outage, one, other in rows),
        evenly=count // max(evenly),
        chosen=CHOSEN,
        last_return=CHOSEN_END - CHOSEN_STEP,
        top_return=max(return_evenly + return_together),
        return_evenly=return_evenly,
        return_together=return_together,
    )
    sys.stdout.write(drawn)


if __name__ == "__main__":
    main()
