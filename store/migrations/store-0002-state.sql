-- Small values of the pipeline itself: collector checkpoints, detector snapshots. Read by scope and key, so that is the order;
-- no PARTITION BY: one insert is one part, so all entries of one put become visible together. `deleted` rows vanish on FINAL.
CREATE TABLE IF NOT EXISTS {database}.state
(
    scope LowCardinality(String) COMMENT 'who keeps it: collector, detect-runs, detector snapshots …',
    key String COMMENT 'what it is kept for inside the scope',
    value String COMMENT 'opaque bytes in base64' CODEC(ZSTD(3)),
    version UInt64 COMMENT 'microseconds of the clock at the write, never going back; the highest wins',
    deleted UInt8 COMMENT '1: the key was deleted'
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (scope, key)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'checkpoints and snapshots of the pipeline';
