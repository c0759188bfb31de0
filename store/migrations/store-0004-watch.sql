-- The newest revision of each finding. window_start is a part of the id, so it may lead the order; it makes "the last day" cheap.
CREATE TABLE IF NOT EXISTS {database}.findings_log
(
    finding_id UUID COMMENT 'hash of detector, entity and window_start',
    revision UInt32 COMMENT 'emissions of this finding; the highest wins',
    detector LowCardinality(String) COMMENT 'detector that found it',
    detector_version LowCardinality(String) COMMENT 'its version',
    entity String COMMENT 'what misbehaves: key:…, actor:…, address:…',
    window_start DateTime64(3, 'UTC') COMMENT 'start of the window',
    window_end DateTime64(3, 'UTC') COMMENT 'end of the window',
    first_event_time DateTime64(3, 'UTC') COMMENT 'first event in the window',
    last_event_time DateTime64(3, 'UTC') COMMENT 'last event in the window',
    detected_at DateTime64(3, 'UTC') COMMENT 'wall time of this emission',
    severity LowCardinality(String) COMMENT 'info, low, medium, high, critical',
    reason LowCardinality(String) COMMENT 'which rule decided',
    title String COMMENT 'short text',
    summary String COMMENT 'one sentence for people',
    attack Array(LowCardinality(String)) COMMENT 'MITRE ATT&CK, ATLAS and OWASP ids',
    team_id LowCardinality(Nullable(String)) COMMENT 'team',
    service LowCardinality(Nullable(String)) COMMENT 'service',
    owner_ref LowCardinality(Nullable(String)) COMMENT 'who pays',
    api_key_id LowCardinality(Nullable(String)) COMMENT 'key',
    provider LowCardinality(Nullable(String)) COMMENT 'provider',
    spend_usd_per_minute Nullable(Decimal(38, 12)) COMMENT 'what one more minute costs',
    spend_usd Nullable(Decimal(38, 12)) COMMENT 'spent inside the window',
    evidence String COMMENT 'JSON: the numbers behind the judgement',
    baseline String COMMENT 'JSON: what the judgement rests on',
    freshness String COMMENT 'JSON: watermark, completeness, late events',
    run_id LowCardinality(Nullable(String)) COMMENT 'ingest run; null for live collection',
    backfill Bool COMMENT 'about old events: stored, never pages, never acts',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(window_start)
ORDER BY (toStartOfDay(window_start), finding_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'what detectors found';

-- Every revision of each alert is kept: the order holds it, so only repeated deliveries of one revision collapse. All steps of an
-- alert are neighbours, because it is read whole.
CREATE TABLE IF NOT EXISTS {database}.alerts_log
(
    alert_id UUID COMMENT 'hash of detector, entity and first firing window',
    revision UInt32 COMMENT 'steps of its life; the highest is now',
    state LowCardinality(String) COMMENT 'firing, ongoing, resolved',
    detector LowCardinality(String) COMMENT 'detector that found it',
    entity String COMMENT 'what misbehaves',
    severity LowCardinality(String) COMMENT 'info, low, medium, high, critical',
    reason LowCardinality(String) COMMENT 'which rule decided',
    title String COMMENT 'short text',
    summary String COMMENT 'one sentence for people',
    attack Array(LowCardinality(String)) COMMENT 'MITRE ATT&CK, ATLAS and OWASP ids',
    team_id LowCardinality(Nullable(String)) COMMENT 'team',
    service LowCardinality(Nullable(String)) COMMENT 'service',
    owner_ref LowCardinality(Nullable(String)) COMMENT 'who pays',
    api_key_id LowCardinality(Nullable(String)) COMMENT 'key',
    provider LowCardinality(Nullable(String)) COMMENT 'provider',
    spend_usd_per_minute Nullable(Decimal(38, 12)) COMMENT 'what one more minute costs',
    spend_usd Nullable(Decimal(38, 12)) COMMENT 'spent in all windows of the alert',
    evidence String COMMENT 'JSON: the numbers behind the judgement',
    finding_ids Array(UUID) COMMENT 'findings of this alert',
    first_event_time DateTime64(3, 'UTC') COMMENT 'first event',
    last_event_time DateTime64(3, 'UTC') COMMENT 'last event so far',
    opened_at DateTime64(3, 'UTC') COMMENT 'when it fired',
    updated_at DateTime64(3, 'UTC') COMMENT 'when this revision was made',
    resolved_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it ended',
    backfill Bool COMMENT 'about old events: stored, never pages, never acts',
    run_id LowCardinality(Nullable(String)) COMMENT 'ingest run; null for live collection',
    acked_by Nullable(String) COMMENT 'who took it',
    acked_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when somebody took it',
    silenced_until Nullable(DateTime64(3, 'UTC')) COMMENT 'end of a silence',
    notification_id Nullable(UUID) COMMENT 'message that this revision asks for; null: nothing to tell',
    notification_kind LowCardinality(Nullable(String)) COMMENT 'firing, raised, ongoing, resolved',
    notification_sinks Array(LowCardinality(String)) COMMENT 'whom it asks to tell',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(updated_at)
ORDER BY (alert_id, revision)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'every step in the life of every alert';

-- Each attempt writes what it intends and what came of it, two rows that must both stay: hence the outcome in the order. The
-- alert leads because people ask "was I told about this alert".
CREATE TABLE IF NOT EXISTS {database}.deliveries_log
(
    notification_id UUID COMMENT 'idempotency id of one message',
    alert_id UUID COMMENT 'alert that it tells about',
    sink LowCardinality(String) COMMENT 'name of the sink in the config',
    kind LowCardinality(String) COMMENT 'firing, raised, ongoing, resolved',
    attempt UInt32 COMMENT 'number of the try',
    outcome LowCardinality(String) COMMENT 'attempting, accepted, retry, permanent, disabled, unknown, suppressed',
    at DateTime64(3, 'UTC') COMMENT 'when',
    next_attempt_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it is tried again',
    receipt Nullable(String) COMMENT 'what the other side gave',
    error Nullable(String) COMMENT 'why it failed',
    duration_ms Nullable(UInt64) COMMENT 'how long the try took',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (alert_id, notification_id, sink, attempt, outcome)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'attempts to tell somebody';

-- Append-only chains per target; the hash is in the order so that a forged or forked record never replaces the true one.
CREATE TABLE IF NOT EXISTS {database}.responses_log
(
    response_id UUID COMMENT 'hash of alert and action',
    alert_id UUID COMMENT 'alert that it answers',
    step LowCardinality(String) COMMENT 'proposed, approved, denied, expired, refused, issued, intent, executed, unknown, verified, failed, undone',
    seq UInt64 COMMENT 'position in the chain of this target',
    at DateTime64(3, 'UTC') COMMENT 'when',
    who String COMMENT 'person or policy',
    why Nullable(String) COMMENT 'reason that was given',
    action LowCardinality(String) COMMENT 'what would be done',
    target_kind LowCardinality(String) COMMENT 'api-key, access-key, project …',
    target_id String COMMENT 'what is cut',
    target_provider LowCardinality(String) COMMENT 'provider of the target',
    dry_run Bool COMMENT 'nothing was cut',
    policy LowCardinality(String) COMMENT 'off, dry-run, approve, auto',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'after this it may not be carried out',
    command_id Nullable(UUID) COMMENT 'command that was issued',
    responder LowCardinality(Nullable(String)) COMMENT 'name of the responder',
    blast_radius Nullable(String) COMMENT 'JSON: who else would be cut',
    detail Nullable(String) COMMENT 'what happened',
    prev String COMMENT 'hash of the record before it in the chain',
    hash String COMMENT 'SHA-256 over prev and the record',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (target_provider, target_kind, target_id, seq, hash)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'steps of shutdowns, hash-chained per target';

-- People's acts. Few rows, looked up by id.
CREATE TABLE IF NOT EXISTS {database}.alert_actions_log
(
    action_id UUID COMMENT 'id of the act',
    act LowCardinality(String) COMMENT 'ack, silence, approve, deny, undo',
    alert_id Nullable(UUID) COMMENT 'alert, for ack and silence',
    response_id Nullable(UUID) COMMENT 'response, for approve, deny and undo',
    who String COMMENT 'who did it',
    why Nullable(String) COMMENT 'reason that was given',
    at DateTime64(3, 'UTC') COMMENT 'when',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'end of a silence',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY action_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'what people did about alerts and responses';

-- Approved shutdowns. Few rows, looked up by id.
CREATE TABLE IF NOT EXISTS {database}.commands_log
(
    command_id UUID COMMENT 'id of the command',
    alert_id UUID COMMENT 'alert that caused it',
    action LowCardinality(String) COMMENT 'what is done',
    target_kind LowCardinality(String) COMMENT 'api-key, access-key, project …',
    target_id String COMMENT 'what is cut',
    target_provider LowCardinality(String) COMMENT 'provider of the target',
    reason String COMMENT 'why',
    evidence_url Nullable(String) COMMENT 'where to read more',
    dry_run Bool COMMENT 'always false: dry runs are no commands',
    expires_at DateTime64(3, 'UTC') COMMENT 'after this it may not be carried out',
    issued_at DateTime64(3, 'UTC') COMMENT 'when it was issued',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(issued_at)
ORDER BY command_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'approved shutdown commands';

-- The newest word of each collector about each stream; live collection and every ingest run have one row of their own.
CREATE TABLE IF NOT EXISTS {database}.progress_log
(
    stream String COMMENT 'source and stream',
    source LowCardinality(String) COMMENT 'source plugin',
    source_stream String COMMENT 'log group and stream, workspace and table, or file',
    run_id LowCardinality(Nullable(String)) COMMENT 'ingest run; null for live collection',
    at DateTime64(3, 'UTC') COMMENT 'when the collector said so; the newest wins',
    scanned_to Nullable(DateTime64(3, 'UTC')) COMMENT 'every earlier event has been published; null: not known yet',
    last_event_time Nullable(DateTime64(3, 'UTC')) COMMENT 'newest event so far',
    completeness Nullable(Float64) COMMENT 'events held / events the cloud counted; null where it cannot be told',
    blind Bool COMMENT 'the stream cannot be read now',
    reason Nullable(String) COMMENT 'why it is blind and what to do',
    done Bool COMMENT 'read to its end',
    records UInt64 COMMENT 'records read',
    accepted UInt64 COMMENT 'records that became events',
    skipped UInt64 COMMENT 'records that are not ours',
    rejected UInt64 COMMENT 'records that were refused',
    late UInt64 COMMENT 'events found behind scanned_to',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (stream, ifNull(run_id, ''))
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'how far each stream has been read';
