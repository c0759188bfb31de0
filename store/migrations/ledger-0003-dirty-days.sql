-- How often each day of events was written. A rollup partition carries the number of marks that it was built from, so a day is
-- current when the two are equal: no clock, no order of inserts and no time of visibility can hide a write.
CREATE TABLE IF NOT EXISTS {database}.dirty_days
(
    day Date COMMENT 'UTC day of the events',
    marks SimpleAggregateFunction(sum, UInt64) COMMENT 'inserts that touched the day',
    at SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'the last of them, by the clock of the store'
)
ENGINE = AggregatingMergeTree
ORDER BY day
SETTINGS fsync_after_insert = 1
COMMENT 'days of events that were written, for the rollup';

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.dirty_days_of_usage TO {database}.dirty_days
AS SELECT toDate(event_time) AS day, toUInt64(1) AS marks, now64(3, 'UTC') AS at
FROM {database}.usage_events
GROUP BY day;

-- How far slow work has come: name `prices` is the version of {database}.prices for which every affected day has been marked dirty.
CREATE TABLE IF NOT EXISTS {database}.ledger_progress
(
    name LowCardinality(String) COMMENT 'what has progressed',
    value UInt64 COMMENT 'how far; the highest wins'
)
ENGINE = ReplacingMergeTree(value)
ORDER BY name
SETTINGS fsync_after_insert = 1
COMMENT 'progress of the ledger';
