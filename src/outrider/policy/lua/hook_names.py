"""Names of the functions in a module's table that are hooks.

Source: the manuals of Momentum, its Lua and its C hooks; `core_…` and the like are C hooks that a script
may take.
"""

from typing import Final

LIFE: Final = ("init", "deinit", "rsrc_setup", "validate_dealloc")
"""Of a module's life: not asked about a message."""

RECEPTION: Final = (
    "validate_connect",
    "validate_ehlo",
    "core_validate_auth",
    "validate_mailfrom",
    "validate_rcptto",
    "validate_rcptto_list",
    "validate_rcptto_list_final",
    "validate_data",
    "validate_data_spool",
    "msg_gen_data_spool",
    "validate_data_spool_each_rcpt",
    "validate_set_binding",
    "core_final_validation",
)
"""In the order in which they are asked."""

WAY_OUT: Final = ("outrider_outbound", "outrider_response", "outrider_disposal")
"""On the way out. Momentum has none like them, so their names are none that a script of its has."""

_SCOPES: Final = ("core", "ac_auth", "cluster", "delay_dsn", "outbound_smtp_auth", "restinj")
"""Modules whose C hooks a script may take: any name that begins with one of them and `_` is a hook."""

_CHANNELS: Final = ("generic_delivery", "http", "apn", "gcm", "smpp", "mm7", "mms")
"""The same for channels."""


def is_hook(name: str) -> bool:
    """The server may call a function of this name."""
    return (
        name in LIFE
        or name in RECEPTION
        or name in WAY_OUT
        or name.startswith(tuple(f"{scope}_" for scope in (*_SCOPES, *_CHANNELS)))
    )
