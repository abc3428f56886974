//! What the library sees of programs whose truth is known, on the running kernel: natively as root, and
//! inside virtual machines with other kernels, where nothing but this one static binary exists.

mod census_seen;
mod connects;
mod counts;
mod descriptors;
mod dns_bounds;
mod dns_questions;
mod dns_seen;
mod dns_waits;
mod fcgi;
mod files_created;
mod files_refused;
mod files_seen;
mod follow;
mod hygiene;
mod journal_commits;
mod journal_seen;
mod journal_sleepers;
mod requests;
mod retention;
mod shapes;
mod steps;
mod tcp_bounds;
mod tcp_census;
mod tcp_churn;
mod tcp_connects;
mod tcp_pair;
mod tcp_seen;
mod tcp_states;
mod tcp_timewait;
mod transfers;
mod udp_drops;
mod udp_seen;
mod waits;

use std::process::ExitCode;

use probe_tests::{harness, tests, watch};

const TESTS: &[harness::Test] = tests! {
    counts::{
        count_mode_counts_every_call_by_result,
        count_mode_counts_four_processes_at_once,
        count_mode_times_calls,
        ledger_counts_every_call,
        ledger_leaves_out_who_is_not_followed,
        errors_are_told_apart,
    }
    waits::{
        each_call_is_charged_to_the_descriptor_that_woke_it,
        epoll_data_need_not_be_the_descriptor,
        epoll_registered_before_attach_has_its_peer,
        a_time_out_is_charged_to_the_only_peer_or_to_several,
    }
    transfers::{
        every_receiving_call_finds_its_peer,
        every_receiving_call_finds_its_peer_over_ipv6,
        every_receiving_call_finds_a_datagram_peer,
        the_clients_of_a_datagram_server_are_one_peer,
        a_socketpair_has_an_unnamed_peer,
        every_sending_call_is_charged_when_the_socket_is_full,
    }
    descriptors::{
        a_connection_opened_before_attach_has_its_peer,
        a_duplicate_leads_to_the_same_peer,
        a_passed_descriptor_leads_to_the_same_peer,
        a_descriptor_inherited_by_fork_leads_to_the_same_peer,
        a_descriptor_kept_across_exec_leads_to_the_same_peer,
        a_reused_number_leads_to_the_new_peer,
    }
    connects::{
        a_non_blocking_connect_is_measured_to_established,
        a_delayed_handshake_counts,
        a_refused_connect_is_never_established,
    }
    tcp_states::{
        a_client_that_closes_first,
        a_client_that_closes_first_over_ipv6,
        a_server_that_closes_first,
        closing_what_was_shut_down_is_no_transition,
        a_reset_ends_both_sides,
        a_wildcard_listener_is_named_as_it_listens,
        a_wildcard_listener_from_before_is_known,
        waiting_for_accept_is_timed,
        what_is_reset_before_accept_came_in_on_its_listener,
        whoever_is_interrupted_is_not_charged,
    }
    tcp_churn::{
        an_interrupted_transition_hides_no_other,
    }
    tcp_timewait::{
        stays_without_a_process_are_timed,
        a_stay_goes_on_when_the_process_closes,
        a_stay_that_a_process_holds_is_timed,
        a_timer_ends_a_stay,
        what_was_there_before_counts_without_a_time,
        other_namespaces_stay_out,
    }
    tcp_bounds::{
        other_namespaces_stay_out,
        the_namespace_of_a_process_is_watched,
        each_transition_is_an_event,
        very_many_clients_are_one,
        a_full_table_is_counted,
    }
    tcp_census::{
        every_state_is_counted,
        ipv6_and_ipv4_in_its_clothes,
        an_orphan_with_a_long_timeout_stays_a_socket,
        owners_and_holders_have_names_and_descriptors,
        queues_and_drops_of_listeners,
        time_wait_is_told_apart_by_age,
        what_finds_no_row_is_counted_all_the_same,
        more_than_a_buffer_is_listed_exactly,
        the_census_of_another_namespace,
    }
    tcp_connects::{
        a_refused_connect_is_reported_once_however_it_is_learnt,
        running_out_of_ports_is_counted_exactly,
        unix_failures_are_reported_by_path,
        the_first_success_after_failures_is_reported,
        the_protocol_is_the_sockets,
        a_connect_given_up_is_no_failure,
        listeners_that_begin_and_end_are_reported,
    }
    udp_drops::{
        a_full_buffer_agrees_with_every_other_count,
        a_full_buffer_agrees_over_ipv6,
        a_connected_socket_knows_the_other_side,
        a_reader_that_keeps_up_drops_nothing,
        whoever_holds_the_socket_is_found,
        what_a_closed_socket_dropped_stays,
        two_sockets_on_one_port_are_told_apart,
        other_namespaces_stay_out,
        many_cpus_at_once_are_counted_exactly,
        sockets_beyond_the_table_are_counted_together,
        all_signals_at_once_attach,
    }
    dns_questions::{
        every_sending_call_over_udp,
        every_receiving_call_over_udp,
        a_and_aaaa_at_once_as_glibc_asks,
        answers_are_told_apart_by_code,
        tcp_however_it_is_cut,
        a_truncated_answer_leads_to_tcp_and_is_no_duplicate,
        an_answer_may_come_to_another_thread,
        names_are_any_bytes,
        what_is_no_question_is_counted_as_that,
        other_ports_are_nothing,
    }
    dns_waits::{
        time_outs_and_retries_as_glibc_makes_them,
        another_lookup_after_one_in_vain_is_no_retry,
        every_way_of_waiting_in_vain_is_lost_time,
        a_refusal_ends_a_question,
    }
    dns_bounds::{
        of_many_that_ask_at_once_one_is_no_duplicate,
        random_names_fill_their_table_and_no_more,
        records_on_the_ring_are_few,
    }
    files_created::{
        only_what_open_really_created_counts,
        sizes_are_taken_at_the_close_of_their_creator,
        threads_and_processes_are_added_up_exactly,
        paths_are_deep_and_long_and_of_any_bytes,
        a_path_and_a_mount_make_the_path_that_the_process_uses,
        a_removed_directory_is_marked,
        every_unlink_finds_its_directory,
        syncs_are_timed_by_directory,
        a_full_table_adds_up_under_other_directories,
        we_are_not_seen,
    }
    files_refused::{
        a_full_tmpfs_is_counted_exactly,
        a_small_ext4_runs_out_of_inodes_with_blocks_free,
    }
    journal_commits::{
        fsyncs_and_commits_are_counted_exactly,
        a_slow_disk_is_timed_as_its_callers_time_it,
        an_fsync_under_way_is_seen,
    }
    journal_sleepers::{
        behind_a_commit_the_stack_says_so,
        on_a_fast_disk_nobody_sleeps_behind_a_commit,
        a_tasks_other_sleeps_are_none,
    }
    follow::{
        a_forked_child_is_followed,
        threads_are_followed_old_and_new,
        a_new_program_keeps_its_row_and_changes_its_name,
        the_end_of_a_thread_is_reported,
        a_reused_pid_is_another_process,
        follow_all_finds_who_makes_a_call,
    }
    requests::{
        parts_sum_to_wall_and_agree_with_the_worker,
        parts_sum_to_wall_beside_another_bpf_tool,
        waiting_for_a_cpu_is_not_waiting_for_the_peer,
        a_poll_based_client_library_is_charged,
        calls_on_one_connection_are_exchanges,
        calls_at_once_are_marked_overlapped,
        a_slow_client_is_not_a_slow_peer,
        waiting_for_work_is_idle,
        an_empty_request_is_a_request,
    }
    shapes::{
        an_event_driven_server_has_no_requests_and_is_marked,
        a_request_begun_before_attach_is_never_taken_for_whole,
        an_unfinished_request_is_visible,
        a_worker_that_dies_in_a_request_is_reported,
        connections_kept_open_are_several_requests,
    }
    fcgi::{
        script_and_uri_are_read_however_they_are_cut,
        long_names_are_cut_not_lost,
        a_kept_connection_carries_three_requests,
        names_are_not_read_when_told_so,
    }
    retention::{
        threads_that_come_and_go_leave_no_row_and_lose_no_call,
        very_many_addresses_are_each_named_and_counted,
    }
    hygiene::{
        a_full_thread_table_is_counted,
        hostile_names_come_through_as_bytes,
        nothing_stays_after_the_end,
        an_end_that_is_not_waited_for_leaves_nothing_either,
        nothing_stays_after_kill_9,
    }
};

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some(follow::EXEC) => follow::exec_workload(),
        Some(hygiene::ATTACH) => hygiene::attach_workload(),
        _ => harness::run("kernel", TESTS, watch::attach_once),
    }
}
