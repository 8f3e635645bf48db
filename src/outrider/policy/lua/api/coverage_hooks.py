"""Rows of Momentum's hooks: functions that the server asks, not ones that it has.

Source: the manuals' lists of Lua hooks, of C hooks that a script may take, and of the channels' hooks.
"""

from collections.abc import Iterator
from typing import Final

from outrider.policy.lua.api.coverage import Row, Status
from outrider.policy.lua.hook_names import LIFE, RECEPTION

_NOTES: Final = {
    "rsrc_setup": "called after init, when scripts are loaded",
    "validate_rcptto_list": "once, when the content is about to come; its list is of addresses",
    "validate_rcptto_list_final": "directly after validate_rcptto_list",
    "core_validate_auth": "its result says nothing; refuse with vctx:set_code",
    "msg_gen_data_spool": "what vctx says refuses the request",
}
_IN_THEIR_PLACE: Final = {
    "core_body_modify": "outrider_outbound",
    "core_ec_message_set_next_attempt": "outrider_response",
    "core_smtp_error_classify": "outrider_response",
    "core_log_delivery_v1": "outrider_response",
    "core_log_attempt_v1": "outrider_response",
    "core_log_transient_failure_v1": "outrider_response",
    "core_log_permanent_failure_v1": "outrider_disposal",
    "generic_delivery_msg_dispose": "outrider_disposal",
    "core_validate_accept": "validate_connect",
    "core_validate_connect": "validate_connect",
    "core_pre_esmtp_auth": "core_validate_auth",
    "core_validate_data_spool_each_rcpt": "validate_data_spool_each_rcpt",
    "core_post_validate_data_spool_each_rcpt_v1": "validate_data_spool_each_rcpt",
    "core_post_validate_set_binding": "core_final_validation",
    "restinj_json_request": "msg_gen_data_spool",
    "restinj_body_assignment": "msg_gen_data_spool",
    "restinj_post_body_assignment": "msg_gen_data_spool",
    "core_config_get_message_routing_domain": "msg:routing_domain in validate_data_spool_each_rcpt",
    "core_binding_group_choose_binding": "msg:binding_group in validate_set_binding",
}
# what is asked at the same place, with other arguments, or does the same
_C_HOOKS: Final = """
core_config_get_message_routing_domain core_config_fetch_domain_routes core_config_get_domain_relay
core_pre_ec_can_relay_to core_binding_group_choose_binding core_post_validate_set_binding
core_ec_message_enqueue core_ec_message_set_next_attempt core_get_msg_expiration_params
core_mailq_get_next_active core_mailq_insert_active core_pre_mailq_message_requeue core_connection_goal
core_veto_host_connection core_config_get_host_failure_retry core_set_delayed_queue_event
core_mail_queue_maintain_domain core_pre_mail_queue_maintain_domain core_post_mail_queue_maintain_domain
core___mail_queue_maintain core_annotate_batch core_assess_batch core_check_outbound_mess_throttle
core_check_outbound_conn_throttle core_inc_outbound_mess_throttle core_inc_outbound_conn_throttle
core_connection_post_bind core_post_initiate_connection_smtp core_smtp_client_mailfrom_args
core_smtp_client_rcptto_args core_smtp_client_xclient_args core_pre_read_smtp core_post_read_smtp
core_smtp_should_session_shutdown core_premigrate_outbound_connection core_inc_outbound_connections
core_dec_outbound_connections core_inc_inbound_connections core_dec_inbound_connections
outbound_smtp_auth_config core_use_outbound_tls core_outbound_tls_verify core_outbound_tls_ca
core_outbound_tls_cert core_outbound_tls_key core_outbound_tls_ciphers core_get_outbound_tls_parameters
core_get_inbound_tls_parameters core_outbound_smtp_tls_verify_callback
core_inbound_smtp_tls_verify_callback core_validate_accept core_validate_connect
core_validate_data_spool_each_rcpt core_post_validate_data_spool_each_rcpt_v1 core_pre_esmtp_auth
ac_auth_perform_auth ac_auth_log_auth_failure core_get_received_header_text
core_get_protocol_string_for_trace_headers core_server_esmtp_session_abort core_post_smtp_command
core_body_modify core_ec_message_part_get_content_type core_ec_message_mcmt_pre_fixup
core_ec_message_mcmt_fixup core_smtp_error_classify core_bounce_error_classify core_generate_bounces
core_generate_rfc3464_message core_generate_rfc3464_message_preamble
core_rfc3464_inline_message_fragment core_post_generate_rfc3464_message core_post_assemble_fwd_message
delay_dsn_generate_delay_dsn delay_dsn_next_delay_dsn delay_dsn_send_notification core_log_reception_v1
core_log_delivery_v1 core_log_attempt_v1 core_log_transient_failure_v1 core_log_permanent_failure_v1
core_log_rejection core_log_client_connection_success core_log_client_connection_failure
core_log_spool_import core_log_reopen core_aaa_log core_log_error core_pre_swap_out_meta
core_post_swap_in_meta core_swap_out_multi core_config_option_pre_set core_config_option_post_set
core_post_config_commit core_control_pre_command core_control_post_command core_control_post_control
core_control_allow_writable_config core_control_allow_writable_config2 core_control_shutdown
core_control_shutdown_ex core_is_adaptive_scope_global cluster_adaptive_update
cluster_membership_update cluster_nodename cluster_subcluster cluster_stats_request
cluster_update_trans_metrics core_cache_get core_cache_set core_gauge_cache_manip core_pre_dns_handle_a
core_pre_dns_handle_mx core_post_dns_handle_a core_post_dns_handle_mx core_dns_get_As core_dns_get_MXs
restinj_json_request restinj_body_assignment restinj_post_body_assignment restinj_recip_response
"""
_CHANNEL_HOOKS: Final = """
generic_delivery_msg_dispose http_request_eval http_response_eval generic_delivery_http_response_eval
apn_request_eval apn_response_eval gcm_request_eval gcm_response_eval smpp_MT_conversion
smpp_MO_conversion smpp_MT_pdu_eval smpp_submit_response smpp_MO_pdu_eval smpp_DR_pdu_eval
smpp_MT_pre_conversion smpp_MT_post_conversion smpp_MO_pre_conversion smpp_MO_post_conversion
smpp_store_submit smpp_handle_DR_negative smpp_handle_DR_positive smpp_log_reception smpp_log_delivery
smpp_log_tempfail smpp_log_permfail smpp_log_status smpp_log_bounce_inband smpp_log_bounce_outband
smpp_log_bounce_transient smpp_log_conversion mm7_pre_submit mm7_handle_submitRsp mm7_request_eval
mm7_store_submit_hook mm7_handle_DR_negative mm7_handle_DR_positive mms_log_reception mms_log_delivery
mms_log_tempfail mms_log_permfail mms_log_status mms_log_bounce_inband mms_log_bounce_outband
mms_log_bounce_transient mms_log_conversion client_message_recv
"""


def _rows() -> Iterator[Row]:
    nowhere: frozenset[str] = frozenset()
    for section, names in (("hooks of a module's life", LIFE), ("hooks of reception", RECEPTION)):
        for name in names:
            note = _NOTES.get(name, "")
            yield Row(name, section, nowhere, Status.PARTLY if note else Status.WORKS, note)
    for name in _C_HOOKS.split():
        why = "never asked, and the log says so: "
        place = _IN_THEIR_PLACE.get(name)
        why += f"{place} is in its place" if place else "the server decides this by its options"
        yield Row(name, "hooks of C that a script may take", nowhere, Status.NOT_CARRIED_OVER, why)
    for name in _CHANNEL_HOOKS.split():
        place = _IN_THEIR_PLACE.get(name)
        why = "never asked: channel not available" + (f"; for mail there is {place}" if place else "")
        yield Row(name, "hooks of channels", nowhere, Status.NOT_CARRIED_OVER, why)


HOOK_ROWS: Final[tuple[Row, ...]] = tuple(_rows())
"""All of them."""
