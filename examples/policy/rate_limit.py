"""Each customer may send so many recipients an hour, counted exactly over all workers.

Who is over it hears 451 and tries again later; nothing is lost. The customer is the login.
"""

from outrider.policy.api import Refuse, Series

HOURLY = {"trial": 50}
DEFAULT = 1_000

sent = Series("recipients of a customer", seconds=3_600, windows=12)


def rcptto(connection, recipient):
    customer = connection.user or connection.client
    limit = HOURLY.get(customer, DEFAULT)
    if not sent.take(customer, limit):
        return Refuse(451, f"4.7.1 No more than {limit} recipients an hour")
    return None
