"""Who checks mail for policy, and of which listeners it is checked whatever scripts say.

In: settings. Out: `Checks` for the policy.
"""

from outrider.base.clock import Clock
from outrider.net.answers import Lookup
from outrider.policy.checking import Checks
from outrider.privacy.mail_checks import MailChecker
from outrider.server.settings import Settings


def checks_of(settings: Settings, clock: Clock, resolver: Lookup) -> Checks:
    """What a configuration says of checks; `resolver` is that configuration's."""
    return Checks(
        MailChecker(resolver, clock, settings.server.hostname),
        frozenset(listener.name for listener in settings.listener if listener.authentication_results),
    )


def asks_for_checks(settings: Settings) -> bool:
    """True when mail is to be checked also where there are no scripts."""
    return any(each.arc for each in settings.dkim) or any(
        each.authentication_results for each in settings.listener
    )
