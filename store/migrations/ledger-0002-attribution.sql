-- Who owns what, by UTC day. Teams are not stored in any rollup: an ownership change is a row here and the views follow.
CREATE TABLE IF NOT EXISTS {database}.attribution
(
    owner_ref String COMMENT 'key:…, role:…, project:…, subscription:…, file:…',
    from_day Date COMMENT 'first UTC day of the ownership',
    last_day Date COMMENT 'last UTC day, inclusive',
    team LowCardinality(String) COMMENT 'team that pays',
    service LowCardinality(String) COMMENT 'service of the team; empty: the service that the event named',
    cost_centre LowCardinality(String) COMMENT 'cost centre of the company; empty: none given',
    contacts Array(String) COMMENT 'whom to ask',
    version UInt64 COMMENT 'counts the loads that changed something; the highest wins',
    deleted UInt8 COMMENT '1: the entry was withdrawn'
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (owner_ref, from_day)
SETTINGS fsync_after_insert = 1
COMMENT 'owners of keys, roles, projects and subscriptions by day';

CREATE DICTIONARY IF NOT EXISTS {database}.attribution_dictionary
(
    owner_ref String,
    from_day Date,
    last_day Date,
    team String,
    service String,
    cost_centre String
)
PRIMARY KEY owner_ref
SOURCE(CLICKHOUSE(QUERY 'SELECT owner_ref, from_day, last_day, team, service, cost_centre FROM {database}.attribution FINAL'))
LAYOUT(COMPLEX_KEY_RANGE_HASHED(range_lookup_strategy 'max'))
RANGE(MIN from_day MAX last_day)
LIFETIME(MIN 30 MAX 60);
