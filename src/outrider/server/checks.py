"""Who checks mail in a worker, and of which listeners it is checked whatever scripts say.

In: settings. Out: `Checks` for the policy.

Theory: each configuration gets a resolver of its own, as nameservers and times may be others after a reload;
what the one before it knew is asked again.
"""

import secrets

from outrider.base.clock import Clock
from outrider.base.log import Log
from outrider.net.resolver import DnsResolver
from outrider.policy.checking import Checks
from outrider.privacy.mail_checks import MailChecker
from outrider.server.settings import Settings


def checks_of(settings: Settings, clock: Clock, log: Log) -> Checks:
    """What a configuration says of checks.

    Raises:
        ConfigError: There are no nameservers.
    """
    resolver = DnsResolver(settings.net, clock=clock, log=log, random_bits=secrets.randbits)
    return Checks(
        MailChecker(resolver, clock, settings.server.hostname),
        frozenset(listener.name for listener in settings.listener if listener.authentication_results),
    )


def asks_for_checks(settings: Settings) -> bool:
    """True when mail is to be checked also where there are no scripts."""
    return any(each.arc for each in settings.dkim) or any(
        each.authentication_results for each in settings.listener
    )
