"""The text of a rate: so many events in a period.

`N/second`, `N/minute`, `N/hour`, `N/day` or `N/<seconds>`, with `,burst=B` where B may go out at once.
Without a burst the events are spaced evenly.
"""

import re
from dataclasses import dataclass

_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_FORM = re.compile(
    r"(?P<limit>[1-9][0-9]{0,8})/(?P<period>[a-z]+|[1-9][0-9]{0,6}(?:\.[0-9]{1,3})?)(?:,burst=(?P<burst>[1-9][0-9]{0,8}))?"
)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `limit` events in any `seconds`; up to `burst` of them at once, None is evenly spaced."""

    limit: int
    seconds: float
    burst: int | None = None


def parse_rate(text: str) -> Rate:
    """The rate that `text` says.

    Raises:
        ValueError: It has another form; the message says which forms there are.
    """
    match = _FORM.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f'"{text}" is not a rate; write N/second, N/minute, N/hour, N/day or N/<seconds>')
    period = match["period"]
    if period[0].isdigit():
        seconds = float(period)
    elif period in _PERIODS:
        seconds = _PERIODS[period]
    else:
        raise ValueError(
            f'"{period}" is not a period; write second, minute, hour, day or a number of seconds'
        )
    limit = int(match["limit"])
    burst = int(match["burst"]) if match["burst"] else None
    if burst is not None and burst > limit:
        raise ValueError(f"a burst of {burst} is more than the limit of {limit}")
    return Rate(limit, seconds, burst)
