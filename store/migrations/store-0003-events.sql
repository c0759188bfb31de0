-- Accesses to secret stores. Like usage_events: only what a re-delivery cannot change is in the order and the partition, so
-- duplicates collapse; the hour leads, because people ask for a span of time.
CREATE TABLE IF NOT EXISTS {database}.secret_access_events
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
    duration_ms Nullable(UInt64) COMMENT 'how long the call took',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(event_time)
ORDER BY (toStartOfHour(event_time), event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'accesses to secrets, one row per event id';

-- Changes of credentials and limits. Order and partition for the same reasons as secret_access_events.
CREATE TABLE IF NOT EXISTS {database}.credential_change_events
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
    request_id Nullable(String) COMMENT 'the provider''s request id',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(event_time)
ORDER BY (toStartOfHour(event_time), event_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'changes of credentials, one row per event id';

-- Buckets as the provider counts them. A bucket is revised until it is settled, so the newest collection wins; report_id holds
-- all group keys, the columns before it make a comparison of one provider and month read neighbouring rows.
CREATE TABLE IF NOT EXISTS {database}.spend_reports
(
    report_id UUID COMMENT 'hash of endpoint, bucket and group keys',
    provider LowCardinality(String) COMMENT 'provider that counted',
    kind LowCardinality(String) COMMENT 'usage or cost',
    bucket_start DateTime64(3, 'UTC') COMMENT 'first instant of the bucket',
    bucket_end DateTime64(3, 'UTC') COMMENT 'first instant after the bucket',
    collected_at DateTime64(3, 'UTC') COMMENT 'when it was asked for; the newest wins',
    project_id LowCardinality(Nullable(String)) COMMENT 'project',
    api_key_id LowCardinality(Nullable(String)) COMMENT 'the provider''s tracking id of the key',
    user_id Nullable(String) COMMENT 'user',
    model LowCardinality(Nullable(String)) COMMENT 'model',
    tier LowCardinality(Nullable(String)) COMMENT 'service tier',
    line_item LowCardinality(Nullable(String)) COMMENT 'name on the bill',
    requests Nullable(UInt64) COMMENT 'requests',
    input_tokens Nullable(UInt64) COMMENT 'all input tokens',
    cache_read_input_tokens Nullable(UInt64) COMMENT 'input tokens read from the cache',
    output_tokens Nullable(UInt64) COMMENT 'all output tokens',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'dollars, as the provider says',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(collected_at)
PARTITION BY toYYYYMM(bucket_start)
ORDER BY (provider, kind, bucket_start, report_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'usage and cost as the provider reports them';

-- Refused records. received_at differs at every re-read, so neither order nor partition may hold it: the same record stays one row.
CREATE TABLE IF NOT EXISTS {database}.reject_events
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
    payload Nullable(String) COMMENT 'our own redacted event as JSON for `rejects retry`; null for a foreign body',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when the store got it; retention counts from here'
)
ENGINE = ReplacingMergeTree(received_at)
ORDER BY reject_id
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'records that were refused, with the reason';
