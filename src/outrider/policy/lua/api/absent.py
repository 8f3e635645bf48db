"""What is not here, or not yet: scanners, channels, Message Scope, adaptive rules, pages served by scripts.

Theory: a script that is loaded says `require` and defines its functions; that must work, so that what it
does in other phases goes on. Only the call of a function that is not here fails, with a text that says why
and what there is instead. Where Momentum has an answer for "there is none" (scanners, Message Scope), it is
given.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from outrider.base.errors import OutriderError
from outrider.policy.lua.api.coverage import Row
from outrider.policy.lua.api.host import Host, install, text_of
from outrider.policy.lua.registry import LuaRegistry

AV: Final = {
    "EC_AV_CLEAN": 0,
    "EC_AV_INFECTED": 1,
    "EC_AV_UNSCANNABLE": 2,
    "EC_AV_ERROR": 3,
    "EC_AV_NO_ENGINE": 4,
    "EC_AV_NAME_TOO_LONG": 5,
    "EC_AV_NOT_SUITABLE_FOR_STREAMING": 6,
    "EC_AV_PART_IS_CONTAINER": 7,
}
ENGINE_CHARACTERS_MAX: Final = 40
"""Momentum's."""

CHANNEL: Final = "channel not available"

CONSTANTS: Final = {
    "msys.delivery": (
        "DELIVERY_CONTINUE",
        "DELIVERY_DONE",
        "DELIVERY_SUCCESS",
        "DELIVERY_TEMPFAILED",
        "DELIVERY_PERMFAILED",
        "DELIVERY_FAIL",
    ),
    "msys.smpp": (
        "SMPP_CONTINUE",
        "SMPP_PERMFAILED",
        "SMPP_TEMPFAILED",
        "SMPP_DELIVERED",
        "SMPP_CONVERT_CONT",
        "SMPP_CONVERT_SUPPRESS",
        "SMPP_CONVERT_CANCEL",
    ),
    "msys.apn": tuple(
        f"APNS_{name}"
        for name in (
            "NO_ERROR",
            "PROCESSING_ERROR",
            "MISSING_DEVICE_TOKEN",
            "MISSING_TOPIC",
            "MISSING_PAYLOAD",
            "INVALID_TOKEN_SIZE",
            "INVALID_TOPIC_SIZE",
            "INVALID_PAYLOAD_SIZE",
            "INVALID_TOKEN",
            "SHUTDOWN",
        )
    ),
    "msys.gcm": tuple(
        f"GCM_{name}"
        for name in (
            "NO_ERROR",
            "UNAVAILABLE",
            "MISSING_REGISTRATION",
            "INVALID_REGISTRATION",
            "MISMATCH_SENDER_ID",
            "NOT_REGISTERED",
            "MESSAGE_TOO_BIG",
            "INVALID_DATA_KEY",
            "INVALID_TTL",
            "INTERNAL_SERVER_ERROR",
            "INVALID_PACKAGE_NAME",
            "UNKNOWN",
        )
    ),
    "msys.mms": ("MM7_CONTINUE", "MM7_TEMP_FAIL", "MM7_PERM_FAIL", "MM7_DELIVERED"),
    "msys.xmpp": ("CONT", "DONE"),
}
"""Constants of channels, numbered in this order; SMPP_DELIVERED is 3, as Momentum's page prints it."""

TEXT_CONSTANTS: Final = {
    "msys.smpp": {
        "BLOB_KEY_SMS_TEXT": "SMS_Text",
        "BLOB_KEY_MO_EMAIL_TEXT": "MO_Email_Text",
        "VCTX_KEY_SMS_DST_FLAG": "SMS_Destination_Flag",
        "VCTX_KEY_SMS_DST_ADDRESS": "SMS_Destination_Address",
        "VCTX_KEY_SMS_DST_NPI": "SMS_Destination_NPI",
        "VCTX_KEY_SMS_DST_TON": "SMS_Destination_TON",
        "VCTX_KEY_SMS_SRC_ADDRESS": "SMS_Source_Address",
        "VCTX_KEY_SMS_SRC_NPI": "SMS_Source_NPI",
        "VCTX_KEY_SMS_SRC_TON": "SMS_Source_TON",
        "VCTX_KEY_SMS_REGISTERED_DELIVERY": "SMS_Registered_Delivery",
        "VCTX_KEY_SMS_DATA_CODING": "SMS_Data_Coding",
        "VCTX_KEY_SMS_SEGMENT_SIZE": "SMS_Segment_Size",
    },
}

REFUSED: Final = {
    "msys.delivery": ("ob_get_current_message",),
    "msys.apn": ("apn_status_classifier",),
    "msys.gcm": ("gcm_classify_error", "gcm_get_result_error_code"),
    "msys.mstore": ("save", "load", "inject", "delete"),
    "msys.smpp": (
        "smpp_read_msg_text_blob",
        "smpp_write_msg_text_blob",
        "smpp_get_message_id_from_pdu",
        "smpp_get_deliver_mo_msg",
    ),
    "msys.mcmt.collector": ("setMapping",),
    "msys.xmpp": ("send", "routeStanza", "valid_domain", "connected", "online", "registerModule"),
    "msys.aggregator.mblox": ("setup", "get_operatorID"),
    "msys.httpclnt": ("http_status_classifier",),
}
"""Functions of channels."""

_OWN: Final = "is of the server's own objects, which scripts do not have"
_CORE: Final = (
    "dict_iter2 dict_next dict_iter2_free dict_stringprint dict_key_delete dict_add_key_value"
    " ec_double_list_shift ec_message_blobject_get ec_blobject_delref"
)
REASONS: Final = {
    **{f"msys.core.{name}": _OWN for name in _CORE.split()},
    "msys.core.dns_get_domain": "queues are not a script's; see `outrider queue`",
    "msys.core.mail_queue_delay_domain": "queues are not a script's; see `outrider queue`",
    "msys.core.io_wrapper_open": "scripts write no files; use msys.ts.chunk_logger.log",
    "msys.pbp.set_whitelist": "is of the vendor's own policy; note it in a context with vctx:set",
    "msys.httpsrv.register": "scripts serve no pages; the control API has its own (docs: control-api)",
    "msys.beta.rcptto_proxy.query": "recipients are not asked for at another server; use a data source",
    "msys.snmpTrap": "SNMP traps are not sent; events and metrics go to a monitor",
}
"""Functions that are not carried over."""


class AbsentError(OutriderError):
    """A function that is not here was called."""


def refusal(name: str, why: str) -> Callable[..., Any]:
    """A function that says why it is not here."""

    def refuse(*_values: Any) -> Any:
        raise AbsentError(f"{name}: {why}")

    return refuse


class Scanners:
    """`msys.av`: there are no engines yet."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @staticmethod
    def engines() -> list[str]:
        return []

    def scan(self, engine: Any = None, msg: Any = None, _vctx: Any = None) -> Any:
        if msg is not None:
            self._host.mail_of(msg)
        elif self._host.current().mail is None:
            raise ValueError("msys.av.scan: there is no message to scan")
        return self._answer(engine)

    def scan_part(self, part: Any = None, engine: Any = None, _vctx: Any = None) -> Any:
        if part is None:
            raise ValueError("msys.av.scan_part: there is no part to scan")
        return self._answer(engine)

    @staticmethod
    def _answer(engine: Any) -> Any:
        name = None if engine is None else text_of(engine, "an engine")
        if name is not None and len(name) > ENGINE_CHARACTERS_MAX:
            return AV["EC_AV_NAME_TOO_LONG"], "the engine's name is too long", name, None
        return AV["EC_AV_NO_ENGINE"], "no engine", name, None


class MessageScope:
    """`msys.message_scope`: there are no lists."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @staticmethod
    def query(*_values: Any) -> Any:
        return "error", 1, 0, "there is no Message Scope"

    def load(self, file: Any) -> None:
        self._host.log.warning("policy.message_scope", text=f"{text_of(file, 'a file')} is not loaded")

    def gen_thread_id(self, msg: Any = None) -> str:
        """The id of the message at hand."""
        mail = self._host.mail_of(msg) if msg is not None else self._host.current().mail
        if mail is None:
            raise ValueError("msys.message_scope.gen_thread_id: there is no message at hand")
        return mail.id


def register(registry: LuaRegistry, host: Host, rows: Mapping[str, Row]) -> None:
    """Register all of them."""
    scanners, scope = Scanners(host), MessageScope(host)
    install(
        registry,
        host,
        rows,
        "msys.av",
        {"engines": scanners.engines, "scan": scanners.scan, "scan_part": scanners.scan_part},
    )
    registry.register("msys.av", AV)
    install(
        registry,
        host,
        rows,
        "msys.message_scope",
        {
            "query": scope.query,
            "query_static": scope.query,
            "load": scope.load,
            "gen_thread_id": scope.gen_thread_id,
        },
    )

    def register_rules(rules: Any, mode: Any = b"augment") -> None:
        if not isinstance(rules, (dict, list)):
            raise ValueError("registerRules takes a table of rules")  # noqa: TRY004 - scripts hear it
        if text_of(mode, "a mode") not in {"augment", "replace"}:
            raise ValueError("rules augment or replace those that there are")
        host.log.warning(
            "policy.adaptive_rules", rules=len(rules), text="rules of scripts are not applied; see [shaping]"
        )

    install(registry, host, rows, "msys.adaptive", {"registerRules": register_rules})
    for module, names in REFUSED.items():
        refused = {name: refusal(f"{module}.{name}", CHANNEL) for name in names}
        install(registry, host, rows, module, refused)
    for name, why in REASONS.items():
        module, _, function = name.rpartition(".")
        install(registry, host, rows, module, {function: refusal(name, why)})
    for module, constants in CONSTANTS.items():
        registry.register(module, {name: number for number, name in enumerate(constants)})
    for module, texts in TEXT_CONSTANTS.items():
        registry.register(module, texts)
    registry.register("msys.gcm", {"GCM_UNKNOW": CONSTANTS["msys.gcm"].index("GCM_UNKNOWN")})
    registry.register("msys.mms", {"MSTORE_CONTINUE": 0, "MSTORE_DONE": 1})
    registry.register("msys.httpsrv", {"DONE": 1})
    for alias in ("msys.extended.httpsrv", "msys.mobility"):
        registry.register(alias, {})
