"""The redactor of each sink, as the options want it.

Takes the options and what makes tokens; gives the redactor of event files or of the server's log.
"""

from outrider.record.options import RecordOptions, SinkRedaction
from outrider.record.redact import Redactor, TokenSource


def events_redactor(options: RecordOptions, tokens: TokenSource | None) -> Redactor:
    """For event files.

    Raises:
        ConfigError: A profile needs tokens, and there is nothing to make them.
    """
    return _redactor(options, options.events, tokens)


def log_redactor(options: RecordOptions, tokens: TokenSource | None) -> Redactor:
    """For the server's log.

    Raises:
        ConfigError: A profile needs tokens, and there is nothing to make them.
    """
    return _redactor(options, options.server_log, tokens)


def _redactor(options: RecordOptions, sink: SinkRedaction, tokens: TokenSource | None) -> Redactor:
    recipient, mail_from, client, text = options.profiles(sink)
    return Redactor(
        sink.redaction or options.redaction,
        options.text_limit,
        tokens=tokens,
        recipient=recipient,
        mail_from=mail_from,
        client=client,
        text=text,
    )
