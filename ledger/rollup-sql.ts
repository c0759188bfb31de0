/** The SQL that turns days of events into sums with cost. It prices exactly as pricing/rate.ts does; a test holds the two equal. */
import { type MeterName, meterNames } from '../pricing/meters.ts'

const DIMENSIONS = ['owner_ref', 'api_key_id', 'provider', 'account_id', 'project_id', 'service', 'model', 'tier', 'ctx'] as const
const COUNTS = ['requests', 'failed_requests', 'unmetered_requests', 'estimated_requests', 'input_tokens', 'output_tokens', 'reasoning_output_tokens'] as const
const UNPRICED = ['unpriced_tokens', 'unpriced_images', 'unpriced_audio_ms'] as const
const MARKS = ['built_marks', 'built_at'] as const
const DAY_MS = 86_400_000

/** Columns of usage_15m behind `bucket`, and of usage_daily behind `day`. */
export const rollupColumns = [...DIMENSIONS, ...meterNames, ...COUNTS, ...UNPRICED, 'cost', 'list_cost', ...MARKS] as const

/**
 * The name that prices are listed under: as pricedName() in pricing/rate.ts, fine-tuned models by `ft:base`. (?s) because a dot
 * must match a line feed as well, [^:] because only the second colon ends the base.
 */
export const pricedNameSql = (model: string): string => `if(startsWith(${model}, 'ft:'), replaceRegexpOne(${model}, '(?s)^(ft:[^:]*):.*$', '\\\\1'), ${model})`

interface Build {
  database: string
  /** YYYY-MM-DD with dirty_days.marks as read before the build; at least one. */
  days: readonly { day: string; marks: string }[]
  /** Start of the build by the clock of the store, "YYYY-MM-DD hh:mm:ss.mmm". */
  built_at: string
  /** Stage table for 15 minutes, with its database. */
  into: string
}

/** Condition on a DateTime64 column: any of the UTC days (YYYY-MM-DD). Neighbours become one range, so that only their granules are read. */
export function daysRangeSql(column: string, days: readonly string[]): string {
  const ranges: { from: number; until: number }[] = []
  for (const from of days.map((day) => Date.parse(day)).sort((a, b) => a - b)) {
    const last = ranges.at(-1)
    if (last !== undefined && from <= last.until) last.until = from + DAY_MS
    else ranges.push({ from, until: from + DAY_MS })
  }
  const instant = (ms: number) => `toDateTime64('${new Date(ms).toISOString().slice(0, 10)} 00:00:00', 3, 'UTC')`
  return `(${ranges.map(({ from, until }) => `${column} >= ${instant(from)} AND ${column} < ${instant(until)}`).join(' OR ')})`
}

/** INSERT … SELECT of some days from the deduplicated events: first sums, then prices, so that each group is priced once. */
export function stage15mSql({ database, days, built_at, into }: Build): string {
  const marks = `transform(toString(toDate(bucket)), [${days.map(({ day }) => `'${day}'`).join(', ')}], [${days.map((day) => `toUInt64(${day.marks})`).join(', ')}], toUInt64(0))`
  const price = (meter: MeterName, column: string) =>
    `if(${meter} > 0, dictGetOrNull('${database}.price_dictionary', '${column}', tuple(toString(provider), ${pricedNameSql('toString(model)')}, toString(tier), toString(ctx), '${meter}'), toDate(bucket)), NULL)`
  const total = (side: 'contract' | 'list') => meterNames.map((meter) => `ifNull(${meter} * ${side}_${meter}, toDecimal128(0, 12))`).join(' + ')
  const unpriced = (meters: readonly MeterName[]) => meters.map((meter) => `if(contract_${meter} IS NULL, ${meter}, 0)`).join(' + ')
  const known = `(zero_requests > 0 OR ${meterNames.map((meter) => `contract_${meter} IS NOT NULL`).join(' OR ')})`
  const tokenMeters = meterNames.filter((meter) => meter !== 'images' && meter !== 'audio_duration_ms')
  return `INSERT INTO ${into} (bucket, ${rollupColumns.join(', ')})
SELECT bucket, ${[...DIMENSIONS, ...meterNames, ...COUNTS].join(', ')},
    ${unpriced(tokenMeters)} AS unpriced_tokens, ${unpriced(['images'])} AS unpriced_images, ${unpriced(['audio_duration_ms'])} AS unpriced_audio_ms,
    if(${known}, ${total('contract')}, NULL) AS cost, if(${known}, ${total('list')}, NULL) AS list_cost,
    ${marks} AS built_marks, toDateTime64('${built_at}', 3, 'UTC') AS built_at
FROM
(
    SELECT *,
        ${meterNames.flatMap((meter) => [`${price(meter, 'contract_price')} AS contract_${meter}`, `${price(meter, 'list_price')} AS list_${meter}`]).join(',\n        ')}
    FROM
    (
        SELECT bucket, ${DIMENSIONS.join(', ')},
            ${meterNames.map((meter) => `sum(if(metered, ifNull(m_${meter}, 0), 0)) AS ${meter}`).join(', ')},
            sum(e_requests) AS requests, sumIf(e_requests, outcome != 'success') AS failed_requests, sumIf(e_requests, NOT metered AND outcome = 'success') AS unmetered_requests,
            sumIf(e_requests, usage_source = 'estimated') AS estimated_requests, sum(ifNull(e_input, 0)) AS input_tokens, sum(ifNull(e_output, 0)) AS output_tokens,
            sum(ifNull(e_reasoning, 0)) AS reasoning_output_tokens,
            countIf(metered AND ${meterNames.map((meter) => `ifNull(m_${meter}, 0) = 0`).join(' AND ')}) AS zero_requests
        FROM
        (
            SELECT toStartOfFifteenMinutes(event_time) AS bucket, e.owner_ref AS owner_ref, ifNull(e.api_key_id, '') AS api_key_id, e.provider AS provider,
                ifNull(e.account_id, '') AS account_id, ifNull(e.project_id, '') AS project_id, ifNull(e.service, '') AS service,
                coalesce(e.model, e.request_model, e.deployment, '') AS model, e.tier AS tier, e.ctx AS ctx, e.usage_source AS usage_source, e.outcome AS outcome,
                e.requests AS e_requests, e.input_tokens AS e_input, e.output_tokens AS e_output, e.reasoning_output_tokens AS e_reasoning,
                ${meterNames.map((meter) => `e.${meter} AS m_${meter}`).join(', ')},
                e.usage_source != 'absent' AND NOT (${meterNames.map((meter) => `e.${meter} IS NULL`).join(' AND ')}) AS metered
            FROM ${database}.usage_events AS e FINAL
            WHERE ${daysRangeSql(
              'e.event_time',
              days.map(({ day }) => day),
            )}
        )
        GROUP BY bucket, ${DIMENSIONS.join(', ')}
    )
)
SETTINGS max_bytes_before_external_group_by = 150000000, do_not_merge_across_partitions_select_final = 1`
}

/** The same days from the stage of 15 minutes, so that the two tables cannot differ. */
export function stageDailySql(from: string, into: string): string {
  const sums = [...meterNames, ...COUNTS, ...UNPRICED, 'cost', 'list_cost'] as const
  return `INSERT INTO ${into} (day, ${rollupColumns.join(', ')})
SELECT day, ${rollupColumns.map((column) => (sums.includes(column as (typeof sums)[number]) ? `s_${column}` : MARKS.includes(column as (typeof MARKS)[number]) ? `any_${column}` : column)).join(', ')}
FROM
(
    SELECT toDate(bucket) AS day, ${DIMENSIONS.join(', ')}, ${sums.map((column) => `sum(${column}) AS s_${column}`).join(', ')}, ${MARKS.map((column) => `any(${column}) AS any_${column}`).join(', ')}
    FROM ${from}
    GROUP BY day, ${DIMENSIONS.join(', ')}
)`
}
