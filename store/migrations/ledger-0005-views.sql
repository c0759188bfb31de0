-- What people query. Deduplicated, documented, stable: columns may be added, never renamed.
CREATE OR REPLACE VIEW {database}.usage
(
    event_id UUID COMMENT 'the same for every copy of the record',
    event_time DateTime64(3, 'UTC') COMMENT 'time of the provider',
    provider String COMMENT 'gen_ai.provider.name',
    account_id Nullable(String) COMMENT 'cloud account or subscription',
    project_id Nullable(String) COMMENT 'project of the provider',
    api_key_id Nullable(String) COMMENT 'tracking id or fingerprint, never the key',
    user_id Nullable(String) COMMENT 'end user as the log names him',
    owner_ref String COMMENT 'who pays',
    team_id Nullable(String) COMMENT 'team at the moment of ingest; spend_daily has the team of the books',
    service Nullable(String) COMMENT 'service at the moment of ingest',
    model Nullable(String) COMMENT 'model that answered',
    request_model Nullable(String) COMMENT 'model or deployment that was asked for',
    tier String COMMENT 'default, batch, flex, priority …',
    input_tokens Nullable(UInt64) COMMENT 'all input; NULL: the log does not say',
    output_tokens Nullable(UInt64) COMMENT 'all output',
    cache_read_input_tokens Nullable(UInt64) COMMENT 'inside input_tokens',
    cache_write_input_tokens Nullable(UInt64) COMMENT 'inside input_tokens',
    reasoning_output_tokens Nullable(UInt64) COMMENT 'inside output_tokens',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'price at ingest; spend_daily follows later price changes',
    list_cost_usd Nullable(Decimal(38, 12)) COMMENT 'list price at ingest',
    price_version Nullable(String) COMMENT 'price book at ingest',
    status_code Nullable(UInt16) COMMENT 'HTTP status',
    outcome String COMMENT 'success, client_error, auth_failure, rate_limited, quota, blocked, server_error',
    error_code Nullable(String) COMMENT 'code of the provider',
    duration_ms Nullable(UInt64) COMMENT 'duration of the call',
    client_ip Nullable(String) COMMENT 'address of the caller, truncated if configured',
    client_country Nullable(String) COMMENT 'ISO 3166-1 alpha-2',
    client_asn Nullable(UInt32) COMMENT 'autonomous system number',
    requests UInt64 COMMENT '1, more for a sampled record',
    usage_source String COMMENT 'provider, log, estimated, absent',
    source String COMMENT 'source plugin that read the record'
)
AS SELECT event_id, event_time, provider, account_id, project_id, api_key_id, user_id, owner_ref, team_id, service, model, request_model, tier,
    input_tokens, output_tokens, cache_read_input_tokens, cache_write_input_tokens, reasoning_output_tokens, cost_usd, list_cost_usd, price_version,
    status_code, outcome, error_code, duration_ms, client_ip, client_country, client_asn, requests, usage_source, source
FROM {database}.usage_events FINAL
COMMENT 'one row per request, deduplicated';

CREATE OR REPLACE VIEW {database}.spend_hourly
(
    hour DateTime('UTC') COMMENT 'start of the hour, UTC',
    team_id String COMMENT 'team that owned the key on that day; unattributed: nobody claims it',
    service Nullable(String) COMMENT 'service of the owner, else the one that the event named',
    api_key_id Nullable(String) COMMENT 'tracking id or fingerprint',
    provider String COMMENT 'gen_ai.provider.name',
    model Nullable(String) COMMENT 'model that answered, else the one asked for',
    requests UInt64 COMMENT 'calls, failed ones included',
    failed_requests UInt64 COMMENT 'calls that did not succeed',
    input_tokens UInt64 COMMENT 'all input',
    output_tokens UInt64 COMMENT 'all output',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'USD at contract prices; NULL: nothing has a price',
    list_cost_usd Nullable(Decimal(38, 12)) COMMENT 'USD at list prices',
    unpriced_tokens UInt64 COMMENT 'tokens without a price, not in cost_usd',
    unmetered_requests UInt64 COMMENT 'calls without usage in the log, not in cost_usd'
)
AS SELECT toStartOfHour(bucket) AS hour, owner.1 AS team_id, owner.2 AS service, nullIf(key_, '') AS api_key_id, provider_ AS provider, nullIf(model_, '') AS model,
    sum(requests_) AS requests, sum(failed_) AS failed_requests, sum(input_) AS input_tokens, sum(output_) AS output_tokens,
    sum(cost_) AS cost_usd, sum(list_) AS list_cost_usd, sum(unpriced_) AS unpriced_tokens, sum(unmetered_) AS unmetered_requests
FROM
(
    SELECT bucket,
        (ifNull(dictGetOrNull('{database}.attribution_dictionary', 'team', tuple(owner_ref), toDate(bucket)), 'unattributed'),
         coalesce(nullIf(dictGetOrNull('{database}.attribution_dictionary', 'service', tuple(owner_ref), toDate(bucket)), ''), nullIf(toString(service), ''))) AS owner,
        toString(api_key_id) AS key_, toString(provider) AS provider_, toString(model) AS model_, requests AS requests_, failed_requests AS failed_, input_tokens AS input_,
        output_tokens AS output_, cost AS cost_, list_cost AS list_, unpriced_tokens AS unpriced_, unmetered_requests AS unmetered_
    FROM {database}.usage_15m
)
GROUP BY hour, team_id, service, api_key_id, provider, model
SETTINGS max_bytes_before_external_group_by = 60000000
COMMENT 'spend by hour, team, service, key and model';

CREATE OR REPLACE VIEW {database}.spend_daily
(
    day Date COMMENT 'UTC day',
    team_id String COMMENT 'team that owned the key on that day; unattributed: nobody claims it',
    service Nullable(String) COMMENT 'service of the owner, else the one that the event named',
    api_key_id Nullable(String) COMMENT 'tracking id or fingerprint',
    provider String COMMENT 'gen_ai.provider.name',
    model Nullable(String) COMMENT 'model that answered, else the one asked for',
    requests UInt64 COMMENT 'calls, failed ones included',
    failed_requests UInt64 COMMENT 'calls that did not succeed',
    input_tokens UInt64 COMMENT 'all input',
    output_tokens UInt64 COMMENT 'all output',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'USD at contract prices; NULL: nothing has a price',
    list_cost_usd Nullable(Decimal(38, 12)) COMMENT 'USD at list prices',
    unpriced_tokens UInt64 COMMENT 'tokens without a price, not in cost_usd',
    unmetered_requests UInt64 COMMENT 'calls without usage in the log, not in cost_usd'
)
AS SELECT day, owner.1 AS team_id, owner.2 AS service, nullIf(key_, '') AS api_key_id, provider_ AS provider, nullIf(model_, '') AS model,
    sum(requests_) AS requests, sum(failed_) AS failed_requests, sum(input_) AS input_tokens, sum(output_) AS output_tokens,
    sum(cost_) AS cost_usd, sum(list_) AS list_cost_usd, sum(unpriced_) AS unpriced_tokens, sum(unmetered_) AS unmetered_requests
FROM
(
    SELECT day,
        (ifNull(dictGetOrNull('{database}.attribution_dictionary', 'team', tuple(owner_ref), day), 'unattributed'),
         coalesce(nullIf(dictGetOrNull('{database}.attribution_dictionary', 'service', tuple(owner_ref), day), ''), nullIf(toString(service), ''))) AS owner,
        toString(api_key_id) AS key_, toString(provider) AS provider_, toString(model) AS model_, requests AS requests_, failed_requests AS failed_, input_tokens AS input_,
        output_tokens AS output_, cost AS cost_, list_cost AS list_, unpriced_tokens AS unpriced_, unmetered_requests AS unmetered_
    FROM {database}.usage_daily
)
GROUP BY day, team_id, service, api_key_id, provider, model
COMMENT 'spend by UTC day, team, service, key and model';

CREATE OR REPLACE VIEW {database}.unattributed_spend
(
    day Date COMMENT 'UTC day',
    owner_ref String COMMENT 'who pays, as the event names it: add it to the attribution',
    api_key_id Nullable(String) COMMENT 'tracking id or fingerprint',
    provider String COMMENT 'gen_ai.provider.name',
    account_id Nullable(String) COMMENT 'cloud account or subscription',
    project_id Nullable(String) COMMENT 'project of the provider',
    requests UInt64 COMMENT 'calls',
    input_tokens UInt64 COMMENT 'all input',
    output_tokens UInt64 COMMENT 'all output',
    cost_usd Nullable(Decimal(38, 12)) COMMENT 'USD that no team carries'
)
AS SELECT day, owner_ref, nullIf(toString(api_key_id), '') AS api_key_id, toString(provider) AS provider, nullIf(toString(account_id), '') AS account_id, nullIf(toString(project_id), '') AS project_id,
    sum(d.requests) AS requests, sum(d.input_tokens) AS input_tokens, sum(d.output_tokens) AS output_tokens, sum(d.cost) AS cost_usd
FROM {database}.usage_daily AS d
WHERE NOT dictHas('{database}.attribution_dictionary', tuple(owner_ref), day)
GROUP BY day, owner_ref, d.api_key_id, d.provider, d.account_id, d.project_id
COMMENT 'spend of keys that no team owns on that day';

CREATE OR REPLACE VIEW {database}.unpriced_usage
(
    day Date COMMENT 'UTC day',
    provider String COMMENT 'gen_ai.provider.name',
    model Nullable(String) COMMENT 'model without a price: add it to the price overlay',
    tier String COMMENT 'default, batch, flex, priority …',
    ctx String COMMENT 'std or long',
    requests UInt64 COMMENT 'calls of the model on that day, priced ones included',
    unpriced_tokens UInt64 COMMENT 'tokens without a price',
    unpriced_images UInt64 COMMENT 'images without a price',
    unpriced_audio_ms UInt64 COMMENT 'milliseconds of audio without a price',
    unmetered_requests UInt64 COMMENT 'calls without usage in the log: no price can help'
)
AS SELECT day, toString(provider) AS provider, nullIf(toString(model), '') AS model, toString(tier) AS tier, toString(ctx) AS ctx,
    sum(d.requests) AS requests, sum(d.unpriced_tokens) AS unpriced_tokens, sum(d.unpriced_images) AS unpriced_images,
    sum(d.unpriced_audio_ms) AS unpriced_audio_ms, sum(d.unmetered_requests) AS unmetered_requests
FROM {database}.usage_daily AS d
GROUP BY day, d.provider, d.model, d.tier, d.ctx
HAVING unpriced_tokens > 0 OR unpriced_images > 0 OR unpriced_audio_ms > 0 OR unmetered_requests > 0
COMMENT 'usage without a cost, by day and model';
