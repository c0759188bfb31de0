-- What a collector tells of lateness beside how far it is. Rows of before have no figures.
ALTER TABLE {database}.progress_log
    ADD COLUMN IF NOT EXISTS late_histogram Array(UInt64) COMMENT 'late events by how long after their event they were found: up to 10 s, 1 min, 5 min, 15 min, 1 h, 6 h, 1 d, 7 d, and longer' AFTER late,
    ADD COLUMN IF NOT EXISTS lag_ms Nullable(UInt64) COMMENT 'how far scanned_to was behind at; null: not known yet, or read to its end' AFTER late_histogram,
    ADD COLUMN IF NOT EXISTS cloud_delay_ms Nullable(UInt64) COMMENT '95 of 100 of the newest records were made visible by the cloud so long after their own time; null: it does not say' AFTER lag_ms,
    ADD COLUMN IF NOT EXISTS own_delay_ms Nullable(UInt64) COMMENT 'and were on the bus so long after that' AFTER cloud_delay_ms;

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
    late UInt64 COMMENT 'events found behind scanned_to',
    late_histogram Array(UInt64) COMMENT 'late events by how long after their event they were found: up to 10 s, 1 min, 5 min, 15 min, 1 h, 6 h, 1 d, 7 d, and longer',
    cloud_delay_seconds Nullable(Float64) COMMENT '95 of 100 of the newest records were made visible by the cloud so long after their own time; null: it does not say',
    own_delay_seconds Nullable(Float64) COMMENT 'and were on the bus so long after that'
)
AS SELECT
    source, source_stream, run_id, at AS updated_at, scanned_to,
    if(done, NULL, (toUnixTimestamp64Milli(now64(3, 'UTC')) - toUnixTimestamp64Milli(scanned_to)) / 1000) AS lag_seconds,
    last_event_time, completeness, blind, reason, done, records, accepted, skipped, rejected, late, late_histogram,
    cloud_delay_ms / 1000 AS cloud_delay_seconds, own_delay_ms / 1000 AS own_delay_seconds
FROM {database}.progress_log FINAL
ORDER BY run_id IS NULL DESC, at DESC
LIMIT 1 BY stream
COMMENT 'how each source stream stands';
