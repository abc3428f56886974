//! The binary on real servers: nginx and PHP-FPM, gunicorn, and a peer of the test's own that is slow by a
//! known time. What it reports is compared with what the servers themselves measured.

mod before_after;
mod count;
mod dns_storm;
mod ends;
mod files_storm;
mod healthy;
mod journal_stall;
mod other_servers;
mod otlp;
mod prometheus;
mod prometheus_panels;
mod replay;
mod saturated;
mod serve;
mod service;
mod signals;
mod slow;
mod tcp_census;
mod tcp_command;
mod tcp_gaps;
mod tcp_half_closed;
mod tcp_healthy;
mod tcp_ports;
mod tcp_queues;
mod udp_overflow;
mod view;
mod watch;

use std::process::ExitCode;

use probe_tests::{harness, otlp as otlp_collector, tests};

const TESTS: &[harness::Test] = tests! {
    slow::{
        many_calls_on_connections_of_their_own,
        many_calls_on_one_connection,
        one_slow_call,
        many_calls_kept_alive_over_kept_fastcgi,
        calls_at_once,
        drawn_numbers_over_a_unix_socket,
        drawn_numbers_over_tcp,
    }
    saturated::{
        requests_wait_in_a_unix_queue,
        requests_wait_in_a_tcp_queue,
    }
    healthy::{
        a_fast_page_at_full_load_has_no_finding,
        every_request_is_counted,
        connections_kept_from_before_cost_one_request_a_worker,
        an_idle_pool_has_no_finding,
    }
    other_servers::{
        gunicorn_is_known_by_behaviour,
        a_redis_like_peer_opened_before_attach_is_named,
    }
    tcp_ports::{
        exhaustion_is_foretold_then_counted,
        reused_ports_do_not_run_out,
        what_levels_off_below_the_limit_is_no_finding,
    }
    tcp_half_closed::{
        the_peer_that_does_not_close_is_named_with_who_holds,
        as_many_that_are_closed_at_once_are_no_finding,
    }
    tcp_queues::{
        dropped_handshakes_equal_the_kernels_counter,
        refused_unix_connects_equal_the_clients_count,
    }
    tcp_gaps::{
        a_unix_listener_that_restarts,
        a_tcp_listener_that_restarts,
    }
    tcp_census::{
        a_still_table_equals_ss_and_proc,
        a_moving_table_is_within_the_change_that_ss_sees,
        a_flood_of_addresses_is_bounded_and_complete,
    }
    tcp_healthy::{
        keep_alive_at_full_load_has_no_finding,
        workers_over_tcp_and_unix_have_no_finding,
    }
    tcp_command::{
        events_show_each_transition_with_its_owner,
        events_end_quietly_when_the_reader_goes,
        the_namespace_of_a_dead_process_is_one_clear_line,
        another_namespace_is_watched_from_outside,
        without_rights_it_says_so_in_one_line,
        nothing_is_left_after_its_end_or_kill_9,
    }
    udp_overflow::{
        a_slow_reader_is_named_with_each_datagram_that_it_lost,
        a_slow_reader_is_named_over_ipv6,
        the_command_says_the_same,
        a_reader_that_keeps_up_at_full_speed_is_no_finding,
    }
    dns_storm::{
        a_resolver_that_stands_still_is_one_cause_with_its_symptom,
        the_same_load_with_answers_is_no_finding,
    }
    signals::{
        a_silent_name_server_is_named_with_the_time_that_it_costs,
        a_storm_of_small_files_is_counted_with_its_directory,
        a_slow_journal_is_named_with_who_waits,
    }
    files_storm::{
        a_page_that_makes_300_files_is_named_with_its_directory,
        a_page_that_reads_a_cache_is_no_finding,
        the_end_of_the_inodes_is_foretold,
        refused_creations_name_who_and_where,
    }
    journal_stall::{
        a_throttled_device_is_named_with_its_victims,
        the_same_load_without_a_limit_is_no_finding,
    }
    before_after::{
        a_page_before_and_after_it_is_cached,
    }
    count::{
        count_equals_the_program_and_bpftrace,
        count_takes_what_it_is_asked_for,
    }
    view::{
        it_shows_the_pool_and_keys_change_the_screen,
        sigterm_gives_the_terminal_back_and_leaves_nothing,
        a_recording_is_shown_to_whoever_may_read_it,
        without_a_terminal_it_says_what_to_do,
    }
    replay::{
        a_replay_says_what_the_run_said_byte_for_byte,
        a_killed_recording_can_be_replayed_and_a_minute_is_small,
        a_full_disk_ends_a_recording_but_no_report,
    }
    otlp::{
        metrics_and_an_incident_arrive_by_grpc,
        metrics_and_an_incident_arrive_by_http,
        a_collector_that_was_away_has_everything_in_the_end,
        what_is_wrong_with_the_collectors_address_is_said_at_once,
    }
    service::{
        the_units_capabilities_are_enough_and_some_are_given_up,
        root_keeps_no_more_than_watching_needs,
        each_missing_capability_is_named,
    }
    prometheus::{
        promtool_has_nothing_to_say_about_the_rules,
        alerts_fire_for_the_incident_only_and_every_panel_has_data,
        what_runs_out_is_on_its_panel,
    }
    watch::{
        an_incident_is_saved_with_what_led_to_it_and_told_once,
        a_pool_that_is_gone_and_back_is_watched_again,
        one_directory_is_for_one_and_kill_9_leaves_nothing_but_the_ring,
        a_bad_configuration_changes_nothing,
        a_full_disk_ends_no_watching_and_is_used_again,
        it_keeps_its_memory_under_churn,
    }
    serve::{
        what_it_counts_equals_the_access_log_and_the_peer,
        each_request_counts_once_at_full_load,
        a_hundred_scrapes_at_once_are_served_beside_slow_and_rude_clients,
        only_what_is_asked_rightly_is_answered,
        sighup_takes_over_a_new_certificate_and_keeps_the_old_one_beside_a_bad_one,
        what_cannot_be_served_is_one_line_before_anything_is_attached,
        a_unix_socket_is_for_its_group_and_goes_with_its_process,
    }
    ends::{
        the_text_report_names_the_cause_and_holds_no_raw_bytes,
        sigterm_ends_with_a_report_and_leaves_nothing,
        kill_9_leaves_nothing,
        the_oom_killer_leaves_nothing,
        a_pool_that_ends_while_watched_ends_the_run,
        a_closed_stdout_is_no_panic,
    }
};

/// A scenario for each signal that needs none of Debian's packages: what `--guest` runs, in the guests of `cargo xtask vm`.
const GUEST: &[&str] = &[
    "other_servers::a_redis_like_peer_opened_before_attach_is_named",
    "tcp_ports::exhaustion_is_foretold_then_counted",
    "tcp_half_closed::the_peer_that_does_not_close_is_named_with_who_holds",
    "tcp_queues::dropped_handshakes_equal_the_kernels_counter",
    "tcp_gaps::a_tcp_listener_that_restarts",
    "udp_overflow::a_slow_reader_is_named_with_each_datagram_that_it_lost",
    "signals::a_silent_name_server_is_named_with_the_time_that_it_costs",
    "signals::a_storm_of_small_files_is_counted_with_its_directory",
    "signals::a_slow_journal_is_named_with_who_waits",
];

/// What `--quick` runs, in `cargo xtask test`: a case for each command and each signal, healthy servers, and how the tool ends. Those
/// that the quick subset of the lab plays as well, and those that wait for minutes, are left to `cargo xtask test --all`.
const QUICK: &[&str] = &[
    "slow::many_calls_kept_alive_over_kept_fastcgi",
    "slow::drawn_numbers_over_tcp",
    "saturated::requests_wait_in_a_unix_queue",
    "healthy::every_request_is_counted",
    "healthy::an_idle_pool_has_no_finding",
    "other_servers::gunicorn_is_known_by_behaviour",
    "other_servers::a_redis_like_peer_opened_before_attach_is_named",
    "tcp_half_closed::the_peer_that_does_not_close_is_named_with_who_holds",
    "tcp_queues::dropped_handshakes_equal_the_kernels_counter",
    "tcp_queues::refused_unix_connects_equal_the_clients_count",
    "tcp_gaps::a_tcp_listener_that_restarts",
    "tcp_census::a_still_table_equals_ss_and_proc",
    "tcp_census::a_flood_of_addresses_is_bounded_and_complete",
    "tcp_command::events_show_each_transition_with_its_owner",
    "tcp_command::another_namespace_is_watched_from_outside",
    "tcp_command::without_rights_it_says_so_in_one_line",
    "tcp_command::nothing_is_left_after_its_end_or_kill_9",
    "udp_overflow::a_slow_reader_is_named_over_ipv6",
    "udp_overflow::the_command_says_the_same",
    "signals::a_silent_name_server_is_named_with_the_time_that_it_costs",
    "signals::a_storm_of_small_files_is_counted_with_its_directory",
    "files_storm::refused_creations_name_who_and_where",
    "count::count_equals_the_program_and_bpftrace",
    "count::count_takes_what_it_is_asked_for",
    "view::it_shows_the_pool_and_keys_change_the_screen",
    "view::without_a_terminal_it_says_what_to_do",
    "replay::a_replay_says_what_the_run_said_byte_for_byte",
    "otlp::metrics_and_an_incident_arrive_by_http",
    "otlp::what_is_wrong_with_the_collectors_address_is_said_at_once",
    "service::the_units_capabilities_are_enough_and_some_are_given_up",
    "watch::a_pool_that_is_gone_and_back_is_watched_again",
    "watch::a_bad_configuration_changes_nothing",
    "serve::what_it_counts_equals_the_access_log_and_the_peer",
    "serve::only_what_is_asked_rightly_is_answered",
    "serve::what_cannot_be_served_is_one_line_before_anything_is_attached",
    "ends::the_text_report_names_the_cause_and_holds_no_raw_bytes",
    "ends::kill_9_leaves_nothing",
    "ends::the_oom_killer_leaves_nothing",
];

fn main() -> ExitCode {
    let subset = std::env::args().find_map(|arg| match arg.as_str() {
        "--guest" => Some(("GUEST", GUEST)),
        "--quick" => Some(("QUICK", QUICK)),
        _ => None,
    });
    let wanted = |test: &&harness::Test| subset.is_none_or(|(_, names)| names.contains(&test.name));
    let tests: Vec<harness::Test> = TESTS.iter().filter(wanted).copied().collect();
    if let Some((list, names)) = subset
        && tests.len() != names.len()
    {
        eprintln!("e2e: {list} names a case that does not exist");
        return ExitCode::FAILURE;
    }
    harness::run("e2e", &tests, otlp_collector::prepare)
}
