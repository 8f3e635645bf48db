"""The TLS context by which a source's server is checked: chain and name, always both."""

from outrider.net.options import TlsOptions
from outrider.net.tls import ClientContext, TlsContexts
from outrider.store.sources.options import DataSourceOptions


def verified_context(options: DataSourceOptions) -> ClientContext | None:
    """The context for a source's server; None where no TLS is spoken.

    Raises:
        ConfigError: The file of authorities cannot be read.
    """
    if not options.tls and not options.address.is_https:
        return None
    return TlsContexts(TlsOptions(ca_file=options.ca_file)).client("required")
