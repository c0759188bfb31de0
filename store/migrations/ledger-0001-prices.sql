-- Unit prices as the ledger uses them: every name of the price book (snapshots, aliases, deployments) has rows of its own, so that
-- the dictionary needs no second lookup. Days, not instants: prices change at UTC midnight, hence daily sums stay exact.
CREATE TABLE IF NOT EXISTS {database}.prices
(
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name',
    model LowCardinality(String) COMMENT 'dated snapshot, alias or Azure deployment',
    tier LowCardinality(String) COMMENT 'default, batch, flex, priority …',
    ctx LowCardinality(String) COMMENT 'std or long: above the long-context threshold',
    meter LowCardinality(String) COMMENT 'in_uncached, in_cache_read, out_text …',
    from_day Date COMMENT 'first UTC day of the price',
    last_day Date COMMENT 'last UTC day of the price, inclusive',
    list_price Decimal(38, 12) COMMENT 'public USD per token, image or millisecond of audio',
    contract_price Decimal(38, 12) COMMENT 'USD that we pay for the same unit',
    book_version LowCardinality(String) COMMENT 'price book that said so',
    changed_from Date COMMENT 'first day on which this load changed the price of this key',
    changed_last Date COMMENT 'last such day, inclusive',
    version UInt64 COMMENT 'counts the loads that changed something; the highest wins',
    deleted UInt8 COMMENT '1: the book no longer has this price'
)
ENGINE = ReplacingMergeTree(version, deleted)
ORDER BY (provider, model, tier, ctx, meter, from_day)
SETTINGS fsync_after_insert = 1
COMMENT 'unit prices by day';

-- Read with dictGetOrNull: no price is NULL, never 0. Ranges are inclusive at both ends and do not overlap; `max` takes the newer
-- one should they ever (the default takes the older).
CREATE DICTIONARY IF NOT EXISTS {database}.price_dictionary
(
    provider String,
    model String,
    tier String,
    ctx String,
    meter String,
    from_day Date,
    last_day Date,
    list_price Decimal(38, 12),
    contract_price Decimal(38, 12)
)
PRIMARY KEY provider, model, tier, ctx, meter
SOURCE(CLICKHOUSE(QUERY 'SELECT provider, model, tier, ctx, meter, from_day, last_day, list_price, contract_price FROM {database}.prices FINAL'))
LAYOUT(COMPLEX_KEY_RANGE_HASHED(range_lookup_strategy 'max'))
RANGE(MIN from_day MAX last_day)
LIFETIME(MIN 30 MAX 60);
