"""Which signatures a message gets by configuration: the `[[dkim]]` tables, answered by domain and tenant.

In: options and the keys that `outrider dkim` made. Out: requests for the signer. See `signing_options` for
which tables count.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from outrider.privacy.signing_keys import credential_name, file_name, ring_name
from outrider.privacy.signing_options import DOMAIN_MARK, SELECTOR_MARK, DkimOptions
from outrider.privacy.signing_ring import ActiveSelectors
from outrider.wire.dkim.request import SignRequest, is_domain

CACHE_MAX: Final = 16_384
"""Chosen: domains and tenants that send lately; it is emptied when it is full."""


class SigningTable:
    """See the module.

    Args:
        options: The tables, in the order of the file.
        active: Active selectors of the key directory.
    """

    __slots__ = ("_active", "_cached", "_made", "_options", "_settled", "has_seals")

    def __init__(self, options: Sequence[DkimOptions], active: ActiveSelectors) -> None:
        self._options = tuple(options)
        self._active = active
        self._cached: dict[tuple[str, str], tuple[DkimOptions, ...]] = {}
        self._made: dict[tuple[int, str, str], SignRequest] = {}
        self._settled: dict[tuple[str, str], tuple[SignRequest, ...]] = {}
        self.has_seals = any(each.arc for each in self._options)
        """True where some table asks for a seal."""

    def requests_for(self, domain: str, tenant: str) -> tuple[SignRequest, ...]:
        """The signatures for a message; none where its domain is no name that has keys in DNS.

        Args:
            domain: Of the address in From, A-labels, lower case.
            tenant: Whose message it is.

        Raises:
            ConfigError: The file of active keys cannot be read.
        """
        settled = self._settled.get((domain, tenant))
        if settled is not None:
            return settled
        if not is_domain(domain):
            return ()
        tables = self.options_for(domain, tenant)
        found = tuple(request for options in tables for request in self._requests(options, domain))
        if all(options.selector or options.key_source for options in tables):
            if len(self._settled) >= CACHE_MAX:
                self._settled.clear()
            self._settled[domain, tenant] = found
        return found  # where a selector is the active one, another may be so at any time

    def seal_for(self, domain: str, tenant: str) -> SignRequest | None:
        """With what a message is sealed: the first key of the first table that counts and asks for it.

        Raises:
            ConfigError: The file of active keys cannot be read.
        """
        for options in self.options_for(domain, tenant):
            if options.arc and (is_domain(domain) or options.signing_domain):
                return next(self._requests(options, domain), None)
        return None

    def _requests(self, options: DkimOptions, domain: str) -> Iterator[SignRequest]:
        if options.key_source:
            return  # policy asks for it (`policy.key_lookup`)
        signing_domain = options.signing_domain or domain
        for selector in (options.selector,) if options.selector else self._active.of(signing_domain):
            wanted = (id(options), signing_domain, selector)  # each of them is kept in `_options`
            request = self._made.get(wanted)
            if request is None:
                if len(self._made) >= CACHE_MAX:
                    self._made.clear()
                key = _key_of(options, signing_domain, selector)
                request = self._made[wanted] = request_of(options, signing_domain, selector, key)
            yield request

    def options_for(self, domain: str, tenant: str) -> tuple[DkimOptions, ...]:
        """The tables that count for a domain and a tenant."""
        found = self._cached.get((domain, tenant))
        if found is None:
            fitting = [each for each in self._options if _fits(each, domain, tenant)]
            best = max(map(_rank, fitting), default=None)
            found = tuple(each for each in fitting if _rank(each) == best)
            if len(self._cached) >= CACHE_MAX:
                self._cached.clear()
            self._cached[domain, tenant] = found
        return found


def _fits(options: DkimOptions, domain: str, tenant: str) -> bool:
    if options.tenant and options.tenant != tenant:
        return False
    pattern = options.domain
    return pattern in {"*", domain} or (pattern[:2] == "*." and domain.endswith(pattern[1:]))


def _rank(options: DkimOptions) -> tuple[int, int, bool]:
    """How specific it is."""
    pattern = options.domain
    kind = 0 if pattern == "*" else 1 if pattern.startswith("*.") else 2
    return kind, len(pattern) if kind == 1 else 0, bool(options.tenant)


def _key_of(options: DkimOptions, domain: str, selector: str) -> str:
    """Name of the key of a table."""
    if options.key_file is not None:
        path = str(options.key_file).replace(DOMAIN_MARK, domain).replace(SELECTOR_MARK, selector)
        return file_name(Path(path))
    if options.key_credential:
        return credential_name(options.key_credential)
    return ring_name(domain, selector)


def request_of(options: DkimOptions, domain: str, selector: str, key: str) -> SignRequest:
    """What a table asks for, with this key.

    Raises:
        RequestError: Domain, selector and identity do not fit.
    """
    return SignRequest(
        domain,
        selector,
        key,
        identity=options.identity,
        header=options.header_canonicalization,
        body=options.body_canonicalization,
        fields=options.fields,
        oversigned=options.oversign,
        expiry_seconds=options.expiry_seconds,
        allow_short_key=options.allow_short_key,
    )
