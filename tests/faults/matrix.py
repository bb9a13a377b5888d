"""The fault matrix: what can go wrong, what happens then, and which tests prove it.

`docs/reference/faults.md` is made of it by `scripts/generate-faults-reference`; a test checks that
both agree and that every test named here exists. A fault without a proof is open, and says why.
"""

import msgspec

LATER = "needs a part that is not built yet"


class Fault(msgspec.Struct, frozen=True):
    """A row. `proofs`: `file::test` below `tests/`; `open`: what is missing, or nothing."""

    number: int
    name: str
    outcome: str
    proofs: tuple[str, ...] = ()
    open: str = ""


def _fault(number: int, name: str, outcome: str, *proofs: str, missing: str = "") -> Fault:
    return Fault(number, name, outcome, proofs, missing)


DECIDE, WIRES, NET = "recovery/test_decision.py", "contract/test_wires.py", "faults/test_network.py"
TURN, CRASH, RESTART = "engine/test_turn.py", "service/test_crash.py", "service/test_restart.py"
LOOP = "crash/test_crash_loop.py::test_nothing_is_lost_and_nothing_is_done_twice"
CUTS, KINDS = "contract/test_cuts.py", "providers/test_failures.py::test_kinds"
WORLDS = "simulation/test_simulation.py::test_many_worlds"
TALK, DISK = "service/test_conversation.py", "store/test_sqlite_failing_disk.py"
MADE, TOOLS = "faults/test_classes.py::test_made_of_streams", "tools/test_manager.py"
RECORDED = "faults/test_classes.py::test_recorded_errors"

MATRIX: dict[str, tuple[Fault, ...]] = {
    "Provider": (
        _fault(
            1,
            "429 with a short Retry-After",
            "waits as told, and the client sees for how long; then answers",
            f"{DECIDE}::test_retry_after_is_obeyed",
            f"{TURN}::test_an_early_failure_is_tried_again",
        ),
        _fault(
            2,
            "429 with a Retry-After beyond the deadline",
            "not waited for: another model, else `rate_limit` at once, with the time",
            f"{TURN}::test_retry_after_beyond_the_deadline_is_not_waited_for",
            f"{DECIDE}::test_a_wait_behind_the_deadline_is_not_begun",
        ),
        _fault(
            3,
            "quota used up",
            "never repeated; the credential is left alone",
            f"{DECIDE}::test_what_cannot_pass_is_said_at_once",
            KINDS,
        ),
        _fault(
            4,
            "500, 502, 503",
            "repeated with jitter, within the budget",
            f"{DECIDE}::test_what_may_pass_is_tried_again",
            "contract/test_failover.py::test_an_outage_is_not_made_worse",
        ),
        _fault(
            5,
            "529 before the stream",
            "as 500; the breaker counts it",
            f"{WIRES}::test_errors_before_the_stream",
            "engine/test_recovery.py::test_a_model_that_keeps_failing_is_left_alone",
        ),
        _fault(
            6,
            "overloaded in mid-stream, under status 200",
            "seen as what it is; the answer is continued",
            f"{WIRES}::test_what_breaks_in_mid_stream",
            "engine/test_resume.py::test_a_broken_answer_is_continued",
            "faults/test_recorded_streams.py::test_an_error_in_the_middle",
        ),
        _fault(
            7,
            "401, 403",
            "never repeated; the credential is left alone, history untouched",
            f"{TURN}::test_what_cannot_succeed_is_said_at_once",
            "engine/test_recovery.py::test_a_refused_key_is_not_asked_with_again",
        ),
        _fault(
            8,
            "400, invalid request",
            "never repeated nor taken to another model; no breaker counts it",
            f"{DECIDE}::test_what_cannot_pass_is_said_at_once",
            f"{DECIDE}::test_what_any_model_would_refuse_is_not_taken_to_another",
            "recovery/test_breaker.py::test_the_callers_own_mistakes_do_not_count",
        ),
        _fault(
            9,
            "context overflow",
            "room is made once; else the provider's error, naming the large part",
            "contract/test_compaction_wires.py::test_the_provider_counts_more",
            "contract/test_compaction_wires.py::test_an_overflow_that_stays",
        ),
        _fault(
            10,
            "404, the model is gone",
            "another model of the chain, which the answer names",
            f"{DECIDE}::test_another_model_is_asked_where_that_helps",
            "engine/test_recovery.py::test_the_next_model_of_the_chain_answers",
        ),
        _fault(
            11,
            "content refused",
            "delivered as a refusal; no other model is asked",
            f"{DECIDE}::test_what_any_model_would_refuse_is_not_taken_to_another",
            KINDS,
        ),
        _fault(
            12,
            "413, body too large",
            "said at once, never repeated",
            f"{DECIDE}::test_what_cannot_pass_is_said_at_once",
            KINDS,
        ),
        _fault(
            13, "`x-should-retry: false`", "obeyed", f"{DECIDE}::test_the_providers_no_is_obeyed"
        ),
        _fault(
            14,
            "an event that is no JSON",
            "`protocol`, and the answer is continued",
            f"{WIRES}::test_what_breaks_in_mid_stream",
            MADE,
            "faults/test_recorded_streams.py::test_two_streams_spliced",
        ),
        _fault(
            15,
            "an unknown type of event",
            "passed over",
            f"{WIRES}::test_what_must_not_matter",
            "providers/test_anthropic_stream.py::test_unknown_events_blocks_and_deltas",
        ),
        _fault(
            16,
            "an empty answer",
            "asked for once more",
            f"{TURN}::test_an_empty_answer_is_asked_for_again",
        ),
        _fault(
            17,
            "a slow provider",
            "the clock of the first token ends it: `timeout`, or another model",
            f"{WIRES}::test_clocks",
            "providers/test_transport.py::test_first_token_clock",
        ),
        _fault(
            18,
            "all providers down",
            "fails at once while breakers are open; the message is kept where asked for",
            "engine/test_recovery.py::test_a_model_that_keeps_failing_is_left_alone",
            "service/test_outbox.py::test_a_question_that_reached_nobody_is_kept_and_answered_once",
            "service/test_degraded.py::test_the_offline_responder_answers_when_nobody_can_be_reached",
            "contract/test_degraded.py::test_a_provider_goes_away_and_comes_back",
        ),
        _fault(
            19,
            "many callers of a half-open breaker",
            "exactly one reaches the provider",
            "contract/test_failover.py::test_exactly_one_of_fifty_callers_probes",
        ),
        _fault(
            20,
            "no usage, or a wrong one",
            "estimated, and marked so",
            f"{TURN}::test_what_a_cut_answer_used_counts_what_it_said",
            "service/test_takeover.py::test_an_attempt_that_a_crash_cut_has_its_row",
        ),
    ),
    "Network": (
        _fault(21, "no such host", "`network`", f"{NET}::test_a_name_that_nobody_knows"),
        _fault(22, "connection refused", "`network`", f"{NET}::test_refused"),
        _fault(
            23,
            "no answer to connecting",
            "the clock of connecting ends it",
            f"{NET}::test_no_answer_to_connecting",
        ),
        _fault(24, "TLS fails", "asked once", f"{NET}::test_no_tls_where_it_is_expected"),
        _fault(
            25,
            "reset before the headers",
            "asked again",
            f"{NET}::test_broken_before_the_answer",
            "providers/test_connections.py::test_a_connection_that_was_closed_meanwhile",
        ),
        _fault(
            26,
            "reset in mid-text",
            "continued: no character twice, none missing",
            f"{NET}::test_broken_in_mid_text",
            f"{CUTS}::test_a_broken_answer_ends_whole",
            "contract/test_degraded.py::test_another_provider_finishes_the_answer",
        ),
        _fault(
            27,
            "clean end without end marker",
            "seen as a truncation, and continued",
            f"{NET}::test_broken_in_mid_text",
            f"{WIRES}::test_a_clean_end_without_end_marker",
            "faults/test_recorded_streams.py::test_every_cut_is_a_truncation",
        ),
        _fault(
            28,
            "a stall, with pings or without",
            "the idle clock ends it",
            f"{NET}::test_a_stall",
            f"{NET}::test_a_stall_with_pings",
        ),
        _fault(29, "a trickle", "the turn's deadline ends it", f"{NET}::test_a_trickle"),
        _fault(
            30,
            "a connection left open behind the end",
            "the turn ends at the end marker",
            f"{NET}::test_open_behind_the_end",
        ),
        _fault(
            31,
            "packets that end anywhere",
            "the same text",
            f"{NET}::test_sliced",
            "providers/test_sse.py::test_every_single_split",
        ),
    ),
    "Process": (
        _fault(
            32,
            "killed behind accepting",
            "the message is there, and answered where that is wanted",
            f"{CRASH}::test_a_killed_program_loses_no_accepted_message",
            f"{RESTART}::test_a_message_that_nobody_answered_is_answered",
            LOOP,
        ),
        _fault(
            33,
            "killed in mid-answer",
            "what was said is kept as partial, or continued without a character twice",
            f"{CRASH}::test_a_killed_program_keeps_what_it_had_said",
            f"{RESTART}::test_half_an_answer_is_continued",
            f"{RESTART}::test_an_answer_that_was_not_at_its_text_is_made_anew",
            WORLDS,
            "server/test_drain.py::test_clients_outlive_a_server",
        ),
        _fault(
            34,
            "killed in a tool",
            "`effect`: outcome unknown, never run again; `idempotent`: the same key; `read`: again",
            f"{CRASH}::test_an_effect_under_way_is_never_run_again",
            f"{RESTART}::test_an_effect_under_way_is_told_and_not_repeated",
            f"{RESTART}::test_an_idempotent_call_runs_again_under_its_key",
            LOOP,
            WORLDS,
        ),
        _fault(35, "killed behind a tool's result", "the result is used", LOOP, WORLDS),
        _fault(36, "killed in the last commit", "exactly one answer", LOOP, WORLDS),
        _fault(
            37,
            "SIGTERM",
            "running turns may end; what does not is left to the next start",
            f"{RESTART}::test_a_program_that_ends_may_wait",
            "cli/test_unfinished.py::test_an_answer_may_come_to_its_end",
            "server/test_drain.py::test_clients_outlive_a_server",
        ),
        _fault(38, "killed for its memory", "as 33", LOOP),
        _fault(
            39,
            "a process that stands still while another takes its turn",
            "its facts are refused: no second answer",
            "service/test_takeover.py::test_facts_of_a_turn_that_was_taken_are_refused",
            WORLDS,
        ),
        _fault(
            40,
            "the clock jumps",
            "deadlines go by what has passed; nothing is lost, and the order stays",
            "faults/test_clock_jumps.py::test_in_the_middle_of_a_turn",
        ),
        _fault(
            41,
            "two programs on one file",
            "both work; each turn has one owner",
            f"{CRASH}::test_two_processes_on_one_file",
            "store/test_sqlite_processes.py::test_many_processes_and_kills",
        ),
    ),
    "Disk": (
        _fault(
            42,
            "disk full",
            "not acknowledged, said; reading goes on, and writing when there is room",
            "store/test_sqlite_file.py::test_full_disk",
            "service/test_full_disk.py::test_a_disk_that_fills_in_mid_answer",
            "service/test_degraded.py::test_a_store_that_is_full_is_read_only",
        ),
        _fault(
            43,
            "fsync fails",
            "nothing more is accepted until the next start",
            f"{DISK}::test_after_a_failed_sync_nothing_more_is_written",
        ),
        _fault(
            44,
            "a file that cannot be written",
            "it is read",
            f"{DISK}::test_what_cannot_be_written_is_read",
        ),
        _fault(
            45,
            "a damaged page",
            "refused with the command that repairs; the original is kept",
            "store/test_sqlite_file.py::test_damage_is_found_after_a_crash",
            "store/test_repair.py::test_random_damage",
            "cli/test_keeping.py::test_damage_is_refused_and_repaired",
        ),
        _fault(
            46,
            "busy by a backup",
            "waited for, then said to be busy",
            "store/test_sqlite_file.py::test_locked_file_is_said_to_be_busy",
            "store/test_backup.py::test_others_write_meanwhile",
        ),
        _fault(
            47,
            "power lost",
            "what was confirmed opens, as a beginning of the log",
            "store/test_repair.py::test_a_power_cut_leaves_a_beginning",
        ),
        _fault(48, "the cache's file is damaged", "", missing=LATER),
    ),
    "PostgreSQL and Redis": tuple(
        _fault(number, name, "", missing=LATER)
        for number, name in enumerate(
            (
                "PostgreSQL restarts",
                "its pool is exhausted",
                "deadlock, serialization failure",
                "a replica is cut off from it",
                "Redis is down",
                "Redis forgets",
                "Redis is slow",
            ),
            49,
        )
    ),
    "Client": (
        _fault(
            56,
            "a reader drops anywhere",
            "it goes on behind its last event, which it sees once",
            "streams/test_session.py::test_a_cursor_dropped_anywhere_sees_every_event_once",
            WORLDS,
            "server/test_drops.py::test_a_drop_at_every_event",
            "server/test_client.py::test_a_stream_that_breaks_goes_on",
        ),
        _fault(
            57,
            "a slow reader",
            "memory is bounded, others are not disturbed; it reads on from the log",
            "streams/test_session.py::test_memory_is_bounded_when_the_log_is_durable",
            "streams/test_session.py::test_a_slow_ear_is_told_what_it_missed",
            "server/test_sse.py::test_a_reader_that_takes_nothing_is_let_go",
            "server/test_ws.py::test_a_client_that_takes_nothing_is_let_go",
        ),
        _fault(
            58,
            "the same message twice",
            "one turn; another message under its key is refused",
            f"{TALK}::test_a_repeated_key_gives_the_same_turn",
            f"{TALK}::test_a_key_belongs_to_its_message",
            f"{TALK}::test_a_repeated_key_is_known_while_the_turn_runs",
            "server/test_rest_turns.py::test_same_key_same_turn",
            "server/test_client.py::test_a_message_whose_answer_got_lost_is_said_once",
        ),
        _fault(
            59,
            "cancelled in mid-answer, or in a tool",
            "provider and tool are stopped, what came is kept",
            f"{WIRES}::test_abort_in_mid_text",
            f"{WIRES}::test_abort_in_mid_tool",
            "server/test_ws.py::test_cancel_is_heard_while_others_speak",
        ),
        _fault(
            60,
            "two messages at once",
            "one after the other, or refused",
            f"{TALK}::test_queued_messages_are_answered_in_order",
            f"{TALK}::test_a_second_message_is_rejected_while_a_turn_runs",
            "server/test_rest_turns.py::test_busy",
        ),
        _fault(
            61,
            "a foreign origin",
            "403, for requests and for sockets",
            "server/test_gate.py::test_foreign_origins",
            "server/test_gate.py::test_foreign_preflight",
        ),
    ),
    "Tool": (
        _fault(62, "raises", "a failed result", f"{TOOLS}::test_failures_are_results"),
        _fault(
            63,
            "hangs",
            "stopped; a failed result",
            f"{TOOLS}::test_slow_tool_is_stopped",
            f"{TOOLS}::test_deaf_tool_is_left_behind",
        ),
        _fault(
            64,
            "says far too much",
            "cut and said so; all of it is kept",
            f"{TOOLS}::test_long_output_is_cut_and_kept",
        ),
        _fault(
            65,
            "says what cannot be stored",
            "mended",
            f"{TOOLS}::test_foreign_values_are_said_to_be_foreign",
            "domain/test_text.py::test_every_text_becomes_storable",
        ),
        _fault(
            66,
            "bad arguments",
            "the model reads what is wrong with them",
            f"{TURN}::test_bad_arguments_and_unknown_tools_are_answers",
            f"{TOOLS}::test_bad_arguments_are_a_failed_result",
        ),
        _fault(
            67,
            "unknown tool",
            "the model reads similar names",
            f"{TOOLS}::test_unknown_tool_names_similar_ones",
        ),
        _fault(
            68,
            "called without end",
            "stopped at the limit of steps",
            f"{TURN}::test_a_model_that_loops_is_stopped",
        ),
        _fault(69, "a remote tool's server dies", "", missing=LATER),
        _fault(
            70,
            "a result that gives orders",
            "calls with an effect wait for a person all the same",
            f"{TALK}::test_an_effect_waits_for_a_person",
            f"{TALK}::test_where_nobody_can_be_asked_effects_are_denied",
        ),
    ),
    "Input": (
        _fault(
            71,
            "empty, or too large",
            "refused before anything is stored",
            f"{TALK}::test_an_empty_message_is_refused",
            "faults/test_input.py::test_a_message_beyond_the_limit",
            "server/test_rest_hostile.py::test_one_byte_too_many",
        ),
        _fault(
            72,
            "NUL, lone surrogates",
            "mended and marked",
            f"{TALK}::test_unstorable_text_is_mended_and_flagged",
            "server/test_rest_hostile.py::test_what_cannot_be_stored",
        ),
        _fault(
            73,
            "deep JSON",
            "a problem like others",
            "tools/test_validation.py::test_deep_values_are_a_problem_like_others",
            "providers/test_failures.py::test_long_and_hostile_bodies",
            "server/test_cve.py::test_deep_bodies",
        ),
        _fault(
            74,
            "decompression bomb",
            "bounded",
            "tools/test_fetch.py::test_bombs_are_bounded",
            "server/test_gate.py::test_compressed_body",
        ),
        _fault(
            75,
            "unknown ids",
            "`not_found`",
            f"{TALK}::test_what_is_not_there_is_not_found",
            "server/test_rest_hostile.py::test_wrong_values",
            "server/test_rest_hostile.py::test_ids_of_nobody",
        ),
        _fault(
            76,
            "another tenant's id",
            "`not_found`",
            "faults/test_input.py::test_ids_of_others_are_unknown",
            "server/test_idor.py::test_ids_of_another_tenant",
            "server/test_idor.py::test_sockets_of_another_tenant",
        ),
    ),
}
