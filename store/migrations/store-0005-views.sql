-- What people query. FINAL drops duplicates that merges have not met yet.
CREATE OR REPLACE VIEW {database}.secret_access
(
    event_id UUID COMMENT 'hash of provider and the provider''s own key',
    event_time DateTime64(3, 'UTC') COMMENT 'the provider''s own time',
    observed_time DateTime64(3, 'UTC') COMMENT 'when the collector read it',
    delivered_time Nullable(DateTime64(3, 'UTC')) COMMENT 'when the cloud made it visible; null where it does not say',
    source LowCardinality(String) COMMENT 'source plugin',
    source_stream LowCardinality(String) COMMENT 'log group and stream, workspace and table, or file',
    format LowCardinality(String) COMMENT 'format plugin',
    revision UInt32 COMMENT 'a record joined from parts comes again with a higher one; the highest wins',
    account_id LowCardinality(Nullable(String)) COMMENT 'cloud account or subscription',
    region LowCardinality(Nullable(String)) COMMENT 'cloud region',
    owner_ref LowCardinality(String) COMMENT 'who pays, stamped at ingest',
    team_id LowCardinality(Nullable(String)) COMMENT 'team at the moment of ingest',
    service LowCardinality(Nullable(String)) COMMENT 'service at the moment of ingest',
    store LowCardinality(String) COMMENT 'secret store: aws-secrets-manager, azure-key-vault …',
    vault LowCardinality(Nullable(String)) COMMENT 'vault or store instance',
    secret_id Nullable(String) COMMENT 'name, ARN or URI of the secret, never its value',
    secret_ids Array(String) COMMENT 'what a batch asked for',
    secret_version Nullable(String) COMMENT 'version that was asked for',
    action LowCardinality(String) COMMENT 'read, batch_read, list, write, rotate, delete, restore, decrypt, auth',
    provider_operation LowCardinality(String) COMMENT 'the provider''s name of the call',
    actor_type LowCardinality(String) COMMENT 'kind of caller',
    actor_id String COMMENT 'role ARN, user ARN or object id of the caller',
    actor_name Nullable(String) COMMENT 'readable name of the caller',
    session_name Nullable(String) COMMENT 'name of the session',
    credential_id Nullable(String) COMMENT 'access key id that was used',
    mfa Nullable(Bool) COMMENT 'second factor used; null: not known',
    via_service LowCardinality(Nullable(String)) COMMENT 'service that made the call for the actor',
    is_child Bool COMMENT 'made by a service for somebody else; never counted as an access',
    outcome LowCardinality(String) COMMENT 'success, denied, not_found, throttled, error',
    status_code Nullable(UInt16) COMMENT 'HTTP status',
    error_code LowCardinality(Nullable(String)) COMMENT 'the provider''s error code',
    client_service LowCardinality(Nullable(String)) COMMENT 'set instead of client_ip where a service called',
    client_ip Nullable(String) COMMENT 'address of the caller, truncated if so configured',
    client_ip_prefix Nullable(UInt8) COMMENT 'leading bits of the address that are known',
    client_country LowCardinality(Nullable(String)) COMMENT 'ISO 3166-1 alpha-2; null: no geography possible',
    client_asn Nullable(UInt32) COMMENT 'autonomous system number of the address',
    client_as_name LowCardinality(Nullable(String)) COMMENT 'name of the autonomous system',
    user_agent LowCardinality(Nullable(String)) COMMENT 'program of the caller',
    flags Array(LowCardinality(String)) COMMENT 'kebab-case marks',
    tls_version LowCardinality(Nullable(String)) COMMENT 'TLS version',
    vpc_endpoint_id LowCardinality(Nullable(String)) COMMENT 'private endpoint',
    request_id Nullable(String) COMMENT 'the provider''s request id',
    duration_ms Nullable(UInt64) COMMENT 'how long the call took'
)
AS SELECT event_id, event_time, observed_time, delivered_time, source, source_stream, format, revision, account_id, region, owner_ref, team_id, service, store, vault, secret_id, secret_ids, secret_version, action, provider_operation, actor_type, actor_id, actor_name, session_name, credential_id, mfa, via_service, is_child, outcome, status_code, error_code, client_service, client_ip, client_ip_prefix, client_country, client_asn, client_as_name, user_agent, flags, tls_version, vpc_endpoint_id, request_id, duration_ms
FROM {database}.secret_access_events FINAL
COMMENT 'accesses to secrets, one row each';

-- Changes of keys and limits, without duplicates.
CREATE OR REPLACE VIEW {database}.credential_changes
(
    event_id UUID COMMENT 'hash of provider and the provider''s own key',
    event_time DateTime64(3, 'UTC') COMMENT 'the provider''s own time',
    observed_time DateTime64(3, 'UTC') COMMENT 'when the collector read it',
    delivered_time Nullable(DateTime64(3, 'UTC')) COMMENT 'when the cloud made it visible; null where it does not say',
    source LowCardinality(String) COMMENT 'source plugin',
    source_stream LowCardinality(String) COMMENT 'log group and stream, workspace and table, or file',
    format LowCardinality(String) COMMENT 'format plugin',
    revision UInt32 COMMENT 'a record joined from parts comes again with a higher one; the highest wins',
    account_id LowCardinality(Nullable(String)) COMMENT 'cloud account or subscription',
    region LowCardinality(Nullable(String)) COMMENT 'cloud region',
    owner_ref LowCardinality(String) COMMENT 'who pays, stamped at ingest',
    team_id LowCardinality(Nullable(String)) COMMENT 'team at the moment of ingest',
    service LowCardinality(Nullable(String)) COMMENT 'service at the moment of ingest',
    target_kind LowCardinality(String) COMMENT 'access-key, api-key, service-account, rate-limit, spend-limit, logging …',
    target_id String COMMENT 'id of the credential or setting, never the credential',
    change LowCardinality(String) COMMENT 'created, updated, activated, deactivated, deleted, listed, rotated',
    provider_operation LowCardinality(String) COMMENT 'the provider''s name of the call',
    actor_type LowCardinality(String) COMMENT 'kind of caller',
    actor_id String COMMENT 'who did it',
    actor_name Nullable(String) COMMENT 'readable name of the caller',
    session_name Nullable(String) COMMENT 'name of the session',
    credential_id Nullable(String) COMMENT 'access key id that was used',
    is_child Bool COMMENT 'made by a service for somebody else',
    client_service LowCardinality(Nullable(String)) COMMENT 'set instead of client_ip where a service called',
    outcome LowCardinality(String) COMMENT 'success, denied, not_found, throttled, error',
    error_code LowCardinality(Nullable(String)) COMMENT 'the provider''s error code',
    client_ip Nullable(String) COMMENT 'address of the caller, truncated if so configured',
    client_ip_prefix Nullable(UInt8) COMMENT 'leading bits of the address that are known',
    client_country LowCardinality(Nullable(String)) COMMENT 'ISO 3166-1 alpha-2; null: no geography possible',
    client_asn Nullable(UInt32) COMMENT 'autonomous system number of the address',
    client_as_name LowCardinality(Nullable(String)) COMMENT 'name of the autonomous system',
    user_agent LowCardinality(Nullable(String)) COMMENT 'program of the caller',
    flags Array(LowCardinality(String)) COMMENT 'kebab-case marks',
    request_id Nullable(String) COMMENT 'the provider''s request id'
)
AS SELECT event_id, event_time, observed_time, delivered_time, source, source_stream, format, revision, account_id, region, owner_ref, team_id, service, target_kind, target_id, change, provider_operation, actor_type, actor_id, actor_name, session_name, credential_id, is_child, client_service, outcome, error_code, client_ip, client_ip_prefix, client_country, client_asn, client_as_name, user_agent, flags, request_id
FROM {database}.credential_change_events FINAL
COMMENT 'changes of credentials and limits, one row each';

-- Refused records; the same record is one row, however often it was read.
CREATE OR REPLACE VIEW {database}.rejects
(
    reject_id UUID COMMENT 'hash of source, stream, reason and sha256, so a re-read counts once',
    received_at DateTime64(3, 'UTC') COMMENT 'when it was refused, last time',
    source LowCardinality(String) COMMENT 'source plugin',
    source_stream LowCardinality(String) COMMENT 'log group and stream, workspace and table, or file',
    stage LowCardinality(String) COMMENT 'parse, bus, store, detect, deliver',
    plugin LowCardinality(Nullable(String)) COMMENT 'format or other plugin that refused',
    run_id LowCardinality(Nullable(String)) COMMENT 'ingest run; null for live collection',
    reason LowCardinality(String) COMMENT 'kebab-case: invalid-json, too-large, bad-time …',
    detail String COMMENT 'what was wrong, redacted',
    size_bytes UInt64 COMMENT 'size of the refused record',
    sha256 String COMMENT 'SHA-256 of the refused record',
    topic LowCardinality(Nullable(String)) COMMENT 'topic of the refused event, if it was one of ours',
    payload Nullable(String) COMMENT 'our own redacted event as JSON for `rejects retry`; null for a foreign body'
)
AS SELECT reject_id, received_at, source, source_stream, stage, plugin, run_id, reason, detail, size_bytes, sha256, topic, payload
FROM {database}.reject_events FINAL
COMMENT 'records that were refused, one row each';

-- The newest revision of each finding.
CREATE OR REPLACE VIEW {database}.findings
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
    state LowCardinality(Nullable(String)) COMMENT 'state of its alert: firing, ongoing, resolved; null: no alert yet',
    alert_id Nullable(UUID) COMMENT 'alert that it belongs to'
)
AS SELECT f.finding_id AS finding_id, f.revision AS revision, f.detector AS detector, f.detector_version AS detector_version, f.entity AS entity, f.window_start AS window_start, f.window_end AS window_end, f.first_event_time AS first_event_time, f.last_event_time AS last_event_time, f.detected_at AS detected_at, f.severity AS severity, f.reason AS reason, f.title AS title, f.summary AS summary, f.attack AS attack, f.team_id AS team_id, f.service AS service, f.owner_ref AS owner_ref, f.api_key_id AS api_key_id, f.provider AS provider, f.spend_usd_per_minute AS spend_usd_per_minute, f.spend_usd AS spend_usd, f.evidence AS evidence, f.baseline AS baseline, f.freshness AS freshness, f.run_id AS run_id, f.backfill AS backfill,
    nullIf(a.state, '') AS state, if(a.state = '', NULL, a.alert_id) AS alert_id
FROM (SELECT * FROM {database}.findings_log FINAL) AS f
LEFT JOIN
(
    SELECT arrayJoin(finding_ids) AS finding_id, alert_id, toString(state) AS state
    FROM (SELECT alert_id, finding_ids, state FROM {database}.alerts_log FINAL ORDER BY revision DESC LIMIT 1 BY alert_id)
) AS a ON a.finding_id = f.finding_id
COMMENT 'findings of the detectors, one row each';

-- The newest revision of each alert.
CREATE OR REPLACE VIEW {database}.alerts
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
    notification_sinks Array(LowCardinality(String)) COMMENT 'whom it asks to tell'
)
AS SELECT alert_id, revision, state, detector, entity, severity, reason, title, summary, attack, team_id, service, owner_ref, api_key_id, provider, spend_usd_per_minute, spend_usd, evidence, finding_ids, first_event_time, last_event_time, opened_at, updated_at, resolved_at, backfill, run_id, acked_by, acked_at, silenced_until, notification_id, notification_kind, notification_sinks
FROM {database}.alerts_log FINAL
ORDER BY revision DESC
LIMIT 1 BY alert_id
COMMENT 'alerts as they stand now, one row each';

-- One row per attempt: what came of it, or `attempting` while nothing did.
CREATE OR REPLACE VIEW {database}.deliveries
(
    notification_id UUID COMMENT 'idempotency id of one message',
    alert_id UUID COMMENT 'alert that it tells about',
    sink LowCardinality(String) COMMENT 'name of the sink in the config',
    kind LowCardinality(String) COMMENT 'firing, raised, ongoing, resolved',
    attempt UInt32 COMMENT 'number of the try',
    state LowCardinality(String) COMMENT 'attempting (no outcome known yet), accepted, retry, permanent, disabled, unknown, suppressed',
    at DateTime64(3, 'UTC') COMMENT 'when',
    next_attempt_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it is tried again',
    receipt Nullable(String) COMMENT 'what the other side gave',
    error Nullable(String) COMMENT 'why it failed',
    duration_ms Nullable(UInt64) COMMENT 'how long the try took',
    severity LowCardinality(Nullable(String)) COMMENT 'severity of the alert',
    reason LowCardinality(Nullable(String)) COMMENT 'reason of the alert',
    evidence String COMMENT 'JSON: receipt and error of the try'
)
AS SELECT
    d.notification_id AS notification_id, d.alert_id AS alert_id, d.sink AS sink, d.kind AS kind, d.attempt AS attempt, d.outcome AS state, d.at AS at,
    d.next_attempt_at AS next_attempt_at, d.receipt AS receipt, d.error AS error, d.duration_ms AS duration_ms,
    nullIf(a.severity, '') AS severity, nullIf(a.reason, '') AS reason, toJSONString(map('receipt', d.receipt, 'error', d.error)) AS evidence
FROM
(
    SELECT *
    FROM {database}.deliveries_log FINAL
    ORDER BY outcome = 'attempting', at DESC
    LIMIT 1 BY notification_id, sink, attempt
) AS d
LEFT JOIN (SELECT alert_id, severity, reason FROM {database}.alerts_log FINAL ORDER BY revision DESC LIMIT 1 BY alert_id) AS a ON a.alert_id = d.alert_id
COMMENT 'attempts to tell somebody, one row each';

-- One row per proposal with its newest step.
CREATE OR REPLACE VIEW {database}.responses
(
    response_id UUID COMMENT 'hash of alert and action',
    alert_id UUID COMMENT 'alert that it answers',
    state LowCardinality(String) COMMENT 'newest step: proposed, approved, denied, expired, refused, issued, intent, executed, unknown, verified, failed, undone',
    action LowCardinality(String) COMMENT 'what would be done',
    target_kind LowCardinality(String) COMMENT 'api-key, access-key, project …',
    target_id String COMMENT 'what is cut',
    target_provider LowCardinality(String) COMMENT 'provider of the target',
    dry_run Bool COMMENT 'nothing was cut',
    policy LowCardinality(String) COMMENT 'off, dry-run, approve, auto',
    proposed_at DateTime64(3, 'UTC') COMMENT 'time of the first step',
    updated_at DateTime64(3, 'UTC') COMMENT 'time of the newest step',
    expires_at Nullable(DateTime64(3, 'UTC')) COMMENT 'after this it may not be carried out',
    who String COMMENT 'who made the newest step',
    why Nullable(String) COMMENT 'reason that was given',
    command_id Nullable(UUID) COMMENT 'command that was issued',
    responder LowCardinality(Nullable(String)) COMMENT 'name of the responder',
    detail Nullable(String) COMMENT 'what happened',
    steps Array(String) COMMENT 'all steps in order',
    severity LowCardinality(Nullable(String)) COMMENT 'severity of the alert',
    reason LowCardinality(Nullable(String)) COMMENT 'reason of the alert',
    evidence String COMMENT 'JSON: who else would be cut'
)
AS SELECT
    r.response_id AS response_id, r.alert_id AS alert_id, r.state AS state, r.action AS action, r.target_kind AS target_kind, r.target_id AS target_id,
    r.target_provider AS target_provider, r.dry_run AS dry_run, r.policy AS policy, r.proposed_at AS proposed_at, r.updated_at AS updated_at,
    r.expires_at AS expires_at, r.who AS who, r.why AS why, r.command_id AS command_id, r.responder AS responder, r.detail AS detail, r.steps AS steps,
    nullIf(a.severity, '') AS severity, nullIf(a.reason, '') AS reason, ifNull(r.blast, '{}') AS evidence
FROM
(
    SELECT
        response_id, any(alert_id) AS alert_id, argMax(step, seq) AS state, any(action) AS action, any(target_kind) AS target_kind, any(target_id) AS target_id,
        any(target_provider) AS target_provider, argMax(dry_run, seq) AS dry_run, argMax(policy, seq) AS policy, min(at) AS proposed_at, max(at) AS updated_at,
        argMax(expires_at, seq) AS expires_at, argMax(who, seq) AS who, argMax(why, seq) AS why, max(command_id) AS command_id, max(responder) AS responder,
        argMax(detail, seq) AS detail, arrayMap(p -> p.2, arraySort(groupArray((seq, toString(step))))) AS steps, argMin(blast_radius, seq) AS blast
    FROM {database}.responses_log FINAL
    GROUP BY response_id
) AS r
LEFT JOIN (SELECT alert_id, severity, reason FROM {database}.alerts_log FINAL ORDER BY revision DESC LIMIT 1 BY alert_id) AS a ON a.alert_id = r.alert_id
COMMENT 'shutdowns, proposed or done, one row each';

-- One row per stream: the live word if there is one, else that of the last ingest run.
CREATE OR REPLACE VIEW {database}.collector_status
(
    source LowCardinality(String) COMMENT 'source plugin',
    source_stream String COMMENT 'log group and stream, workspace and table, or file',
    run_id LowCardinality(Nullable(String)) COMMENT 'ingest run, where the stream was never collected live',
    updated_at DateTime64(3, 'UTC') COMMENT 'when the collector last said something',
    scanned_to Nullable(DateTime64(3, 'UTC')) COMMENT 'every earlier event has been published; null: not known yet',
    lag_seconds Nullable(Float64) COMMENT 'how far scanned_to is behind now; null for a stream that was read to its end, or not known yet',
    last_event_time Nullable(DateTime64(3, 'UTC')) COMMENT 'newest event so far',
    completeness Nullable(Float64) COMMENT 'events held / events the cloud counted; null where it cannot be told',
    blind Bool COMMENT 'the stream cannot be read now',
    reason Nullable(String) COMMENT 'why it is blind and what to do',
    done Bool COMMENT 'read to its end',
    records UInt64 COMMENT 'records read',
    accepted UInt64 COMMENT 'records that became events',
    skipped UInt64 COMMENT 'records that are not ours',
    rejected UInt64 COMMENT 'records that were refused',
    late UInt64 COMMENT 'events found behind scanned_to'
)
AS SELECT
    source, source_stream, run_id, at AS updated_at, scanned_to,
    if(done, NULL, (toUnixTimestamp64Milli(now64(3, 'UTC')) - toUnixTimestamp64Milli(scanned_to)) / 1000) AS lag_seconds,
    last_event_time, completeness, blind, reason, done, records, accepted, skipped, rejected, late
FROM {database}.progress_log FINAL
ORDER BY run_id IS NULL DESC, at DESC
LIMIT 1 BY stream
COMMENT 'how each source stream stands';

-- Inventory of credentials from what was used and what was changed. Minimum, maximum and newest are the same with and without
-- duplicates, so FINAL is not paid for here.
CREATE OR REPLACE VIEW {database}.keys
(
    fingerprint String COMMENT 'tracking id or fingerprint of the credential, never the credential',
    kind LowCardinality(String) COMMENT 'api-key where it called models, else the kind in the change log, else access-key',
    provider LowCardinality(Nullable(String)) COMMENT 'provider that it was used with',
    owner_ref LowCardinality(Nullable(String)) COMMENT 'owner, as of the last use',
    team_id LowCardinality(Nullable(String)) COMMENT 'team, as of the last use',
    service LowCardinality(Nullable(String)) COMMENT 'service, as of the last use',
    created_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was made; null: before we watched',
    created_by Nullable(String) COMMENT 'who made it',
    first_used_at Nullable(DateTime64(3, 'UTC')) COMMENT 'first use that we saw',
    last_used_at Nullable(DateTime64(3, 'UTC')) COMMENT 'last use that we saw; null: never',
    rotated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'last rotation',
    deactivated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'when it was switched off or deleted',
    environments Array(String) COMMENT 'accounts and regions that it was used in'
)
AS SELECT
    fingerprint, argMaxIf(kind, rank, kind != '') AS kind, argMaxIf(provider, used, provider IS NOT NULL) AS provider, argMaxIf(owner_ref, used, owner_ref IS NOT NULL) AS owner_ref,
    argMaxIf(team_id, used, team_id IS NOT NULL) AS team_id, argMaxIf(service, used, service IS NOT NULL) AS service,
    min(created) AS created_at, argMinIf(actor, created, created IS NOT NULL) AS created_by, min(first_used) AS first_used_at, max(used) AS last_used_at,
    max(rotated) AS rotated_at, max(switched_off) AS deactivated_at, arraySort(groupUniqArrayArray(places)) AS environments
FROM
(
    SELECT
        assumeNotNull(api_key_id) AS fingerprint, 'api-key' AS kind, 3 AS rank, argMax(usage_events.provider, event_time) AS provider, argMax(usage_events.owner_ref, event_time) AS owner_ref,
        argMax(usage_events.team_id, event_time) AS team_id, argMax(usage_events.service, event_time) AS service,
        min(event_time) AS first_used, max(event_time) AS used, NULL AS created, NULL AS actor, NULL AS rotated, NULL AS switched_off,
        groupUniqArray(arrayStringConcat(arrayFilter(x -> x != '', [toString(usage_events.provider), ifNull(toString(account_id), ''), ifNull(toString(region), '')]), '/')) AS places
    FROM {database}.usage_events
    WHERE api_key_id IS NOT NULL
    GROUP BY api_key_id
    UNION ALL
    SELECT
        assumeNotNull(credential_id), 'access-key', 1, NULL, argMax(secret_access_events.owner_ref, event_time), argMax(secret_access_events.team_id, event_time),
        argMax(secret_access_events.service, event_time), min(event_time), max(event_time), NULL, NULL, NULL, NULL,
        groupUniqArray(arrayStringConcat(arrayFilter(x -> x != '', [ifNull(toString(account_id), ''), ifNull(toString(region), '')]), '/'))
    FROM {database}.secret_access_events
    WHERE credential_id IS NOT NULL AND NOT is_child
    GROUP BY credential_id
    UNION ALL
    SELECT
        target_id, argMax(target_kind, event_time), 2, NULL, argMax(credential_change_events.owner_ref, event_time), argMax(credential_change_events.team_id, event_time),
        argMax(credential_change_events.service, event_time), NULL, NULL, minOrNullIf(event_time, change = 'created'), argMinOrNullIf(actor_id, event_time, change = 'created'),
        maxOrNullIf(event_time, change = 'rotated'), maxOrNullIf(event_time, change IN ('deactivated', 'deleted')), []
    FROM {database}.credential_change_events
    WHERE target_kind IN ('api-key', 'access-key', 'service-account') AND change != 'listed' AND outcome = 'success'
    GROUP BY target_id
)
GROUP BY fingerprint
COMMENT 'credentials that we know of, one row each';
