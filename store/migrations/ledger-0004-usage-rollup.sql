-- Rebuilt per day from the deduplicated events and swapped by REPLACE PARTITION, so a partition is one day and never changes in
-- place. 15 minutes, because days of Asia/Kolkata and Asia/Kathmandu start at :30 and :15 UTC. Bucket and owner lead the key:
-- every question names a time, most of them an owner.
CREATE TABLE IF NOT EXISTS {database}.usage_15m
(
    bucket DateTime('UTC') COMMENT 'start of 15 minutes',
    owner_ref String COMMENT 'who pays; the attribution dictionary knows the team',
    api_key_id LowCardinality(String) COMMENT 'tracking id or fingerprint; empty: unknown',
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name',
    account_id LowCardinality(String) COMMENT 'cloud account; empty: unknown',
    project_id LowCardinality(String) COMMENT 'project of the provider; empty: unknown',
    service LowCardinality(String) COMMENT 'service that the event named; empty: unknown',
    model LowCardinality(String) COMMENT 'model that answered, else the one asked for; empty: unknown',
    tier LowCardinality(String) COMMENT 'default, batch, flex, priority …',
    ctx LowCardinality(String) COMMENT 'std or long',
    in_uncached UInt64 COMMENT 'text input read from no cache',
    in_cache_read UInt64 COMMENT 'input read from a cache',
    in_cache_write UInt64 COMMENT 'input written to a cache',
    in_audio UInt64 COMMENT 'audio input',
    in_image UInt64 COMMENT 'image input',
    out_text UInt64 COMMENT 'text output, reasoning included',
    out_audio UInt64 COMMENT 'audio output',
    out_image UInt64 COMMENT 'image output',
    images UInt64 COMMENT 'images made',
    audio_duration_ms UInt64 COMMENT 'milliseconds of audio, where the price is per time',
    requests UInt64 COMMENT 'calls, failed ones included',
    failed_requests UInt64 COMMENT 'calls that did not succeed',
    unmetered_requests UInt64 COMMENT 'successful calls whose log carries no usage: their cost is unknown, not 0 (failed calls carry none and cost nothing that anybody knows of)',
    estimated_requests UInt64 COMMENT 'calls whose usage is an estimate',
    input_tokens UInt64 COMMENT 'all input, every kind',
    output_tokens UInt64 COMMENT 'all output, every kind',
    reasoning_output_tokens UInt64 COMMENT 'inside output_tokens',
    unpriced_tokens UInt64 COMMENT 'tokens without a price: not in cost',
    unpriced_images UInt64 COMMENT 'images without a price',
    unpriced_audio_ms UInt64 COMMENT 'milliseconds of audio without a price',
    cost Nullable(Decimal(38, 12)) COMMENT 'USD at contract prices of what has a price; NULL: nothing has',
    list_cost Nullable(Decimal(38, 12)) COMMENT 'the same at list prices',
    built_marks UInt64 COMMENT 'marks of dirty_days that this build has seen',
    built_at DateTime64(3, 'UTC') COMMENT 'start of the build, by the clock of the store'
)
ENGINE = MergeTree
PARTITION BY toDate(bucket)
ORDER BY (bucket, owner_ref, api_key_id, provider, model, tier, ctx, account_id, project_id, service)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'sums of usage in 15 minutes, rebuilt from the events';

-- The same sums by UTC day: what finance asks about months. Partitions are days for the same swap.
CREATE TABLE IF NOT EXISTS {database}.usage_daily
(
    day Date COMMENT 'UTC day',
    owner_ref String COMMENT 'who pays; the attribution dictionary knows the team',
    api_key_id LowCardinality(String) COMMENT 'tracking id or fingerprint; empty: unknown',
    provider LowCardinality(String) COMMENT 'gen_ai.provider.name',
    account_id LowCardinality(String) COMMENT 'cloud account; empty: unknown',
    project_id LowCardinality(String) COMMENT 'project of the provider; empty: unknown',
    service LowCardinality(String) COMMENT 'service that the event named; empty: unknown',
    model LowCardinality(String) COMMENT 'model that answered, else the one asked for; empty: unknown',
    tier LowCardinality(String) COMMENT 'default, batch, flex, priority …',
    ctx LowCardinality(String) COMMENT 'std or long',
    in_uncached UInt64 COMMENT 'text input read from no cache',
    in_cache_read UInt64 COMMENT 'input read from a cache',
    in_cache_write UInt64 COMMENT 'input written to a cache',
    in_audio UInt64 COMMENT 'audio input',
    in_image UInt64 COMMENT 'image input',
    out_text UInt64 COMMENT 'text output, reasoning included',
    out_audio UInt64 COMMENT 'audio output',
    out_image UInt64 COMMENT 'image output',
    images UInt64 COMMENT 'images made',
    audio_duration_ms UInt64 COMMENT 'milliseconds of audio, where the price is per time',
    requests UInt64 COMMENT 'calls, failed ones included',
    failed_requests UInt64 COMMENT 'calls that did not succeed',
    unmetered_requests UInt64 COMMENT 'successful calls whose log carries no usage: their cost is unknown, not 0 (failed calls carry none and cost nothing that anybody knows of)',
    estimated_requests UInt64 COMMENT 'calls whose usage is an estimate',
    input_tokens UInt64 COMMENT 'all input, every kind',
    output_tokens UInt64 COMMENT 'all output, every kind',
    reasoning_output_tokens UInt64 COMMENT 'inside output_tokens',
    unpriced_tokens UInt64 COMMENT 'tokens without a price: not in cost',
    unpriced_images UInt64 COMMENT 'images without a price',
    unpriced_audio_ms UInt64 COMMENT 'milliseconds of audio without a price',
    cost Nullable(Decimal(38, 12)) COMMENT 'USD at contract prices of what has a price; NULL: nothing has',
    list_cost Nullable(Decimal(38, 12)) COMMENT 'the same at list prices',
    built_marks UInt64 COMMENT 'marks of dirty_days that this build has seen',
    built_at DateTime64(3, 'UTC') COMMENT 'start of the build, by the clock of the store'
)
ENGINE = MergeTree
PARTITION BY day
ORDER BY (day, owner_ref, api_key_id, provider, model, tier, ctx, account_id, project_id, service)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'sums of usage by UTC day, rebuilt with usage_15m';
