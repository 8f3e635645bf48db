"""What the configuration has data sources decide without a script: asked before the scripts of a phase."""

from outrider.base.clock import Clock
from outrider.policy.key_lookup import KeyLookup, key_questions_of
from outrider.policy.lookup import lookups_of
from outrider.policy.script import Script
from outrider.server.settings import Settings
from outrider.server.signing import signing_table


def configured_lookups(settings: Settings, clock: Clock) -> list[Script]:
    """`[[policy.lookup]]` tables in their order, then the keys of `[[dkim]]` tables."""
    found: list[Script] = [*lookups_of(settings.policy.lookup, settings.data_source)]
    asked = key_questions_of(settings.dkim, settings.data_source)
    if asked:
        found.append(KeyLookup(signing_table(settings, clock), asked))
    return found
