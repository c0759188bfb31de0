/** Reads the two public price lists into one shape: name → tier → context → meter → USD per single unit, as exact decimal text. */
import { readFileSync } from 'node:fs'
import { z } from 'zod'
import type { MeterName } from '../../pricing/meters.ts'

export type Prices = Partial<Record<MeterName, string>>
/** One period of one model: prices by `tier/ctx`. */
export interface Period {
  from: string | null
  prices: Map<string, Prices>
}
export interface Listed {
  periods: Period[]
  long_context_above: number | null
  mode: string | null
  /** The list spells the name out (no prefix rule). */
  exact: boolean
}

const tiers = ['default', 'batch', 'flex', 'priority'] as const

// --- LiteLLM: one flat object per model, undated -------------------------------------------------------------------------

const LITELLM_METERS: readonly (readonly [field: string, meter: MeterName, per: number])[] = [
  ['input_cost_per_token', 'in_uncached', 1],
  ['cache_read_input_token_cost', 'in_cache_read', 1],
  ['cache_creation_input_token_cost', 'in_cache_write', 1],
  ['input_cost_per_audio_token', 'in_audio', 1],
  ['input_cost_per_image_token', 'in_image', 1],
  ['output_cost_per_token', 'out_text', 1],
  ['output_cost_per_audio_token', 'out_audio', 1],
  ['output_cost_per_image_token', 'out_image', 1],
  ['input_cost_per_second', 'audio_duration_ms', 1000],
]
const LITELLM_SUFFIX = { default: '', batch: '_batches', flex: '_flex', priority: '_priority' } as const

/** Keys are provider-less names; regional and size variants (`azure/us/…`, `hd/1024-x-1024/…`) are not single prices and are left out. */
export function readLitellm(path: string): { openai: Map<string, Listed>; azure: Map<string, Listed> } {
  const raw = z.record(z.string(), z.record(z.string(), z.unknown())).parse(JSON.parse(readFileSync(path, 'utf8')))
  const openai = new Map<string, Listed>()
  const azure = new Map<string, Listed>()
  for (const [key, fields] of Object.entries(raw)) {
    const provider = fields['litellm_provider']
    const name = provider === 'azure' ? key.replace(/^azure\//, '') : key.replace(/^openai\//, '')
    const into = provider === 'azure' ? azure : provider === 'openai' || provider === 'text-completion-openai' ? openai : undefined
    if (into === undefined || name.includes('/')) continue
    const listed = litellmModel(fields)
    if (listed.periods[0]?.prices.size) into.set(name, listed)
  }
  return { openai, azure }
}

function litellmModel(fields: Record<string, unknown>): Listed {
  const prices = new Map<string, Prices>()
  const above = Object.keys(fields).flatMap((field) => /_above_(\d+)k_tokens/.exec(field)?.[1] ?? [])
  const threshold = above[0] === undefined ? null : Number(above[0]) * 1000
  for (const tier of tiers) {
    for (const ctx of ['std', 'long'] as const) {
      const found: Prices = {}
      for (const [field, meter, per] of LITELLM_METERS) {
        const value = fields[`${field}${ctx === 'long' ? `_above_${above[0]}k_tokens` : ''}${LITELLM_SUFFIX[tier]}`]
        // LiteLLM writes 0 where a direction does not exist (embeddings have no output): not a stated price.
        if (typeof value === 'number' && value > 0) found[meter] = perUnit(String(value), per)
      }
      if (Object.keys(found).length > 0) prices.set(`${tier}/${ctx}`, found)
    }
  }
  return { periods: [{ from: null, prices }], long_context_above: threshold, mode: typeof fields['mode'] === 'string' ? fields['mode'] : null, exact: true }
}

// --- genai-prices: matchers, dated prices, variants -----------------------------------------------------------------------

const tiered = z.object({ base: z.string(), tiers: z.array(z.object({ start: z.number(), price: z.string() })).length(1) })
const priceSet = z.record(z.string(), z.union([z.string(), tiered]))
const constraint = z.object({ start_date: z.string() })
type Match = { equals?: string | undefined; starts_with?: string | undefined; contains?: string | undefined; regex?: string | undefined; or_?: Match[] | undefined }
const match: z.ZodType<Match> = z.lazy(() =>
  z.object({
    equals: z.string().optional(),
    starts_with: z.string().optional(),
    contains: z.string().optional(),
    regex: z.string().optional(),
    or_: z.array(match).optional(),
  }),
)
const genaiModel = z.object({
  id: z.string(),
  match,
  prices: z.union([z.array(z.object({ prices: priceSet, constraint: constraint.optional() })), priceSet]),
  price_variants: z.array(z.object({ when: z.record(z.string(), z.string()), prices: priceSet, constraint: constraint.optional() })).optional(),
})
type GenaiModel = z.infer<typeof genaiModel>

const GENAI_METERS: Record<string, readonly [meter: MeterName, per: number]> = {
  input_mtok: ['in_uncached', 1_000_000],
  cache_read_mtok: ['in_cache_read', 1_000_000],
  cache_write_mtok: ['in_cache_write', 1_000_000],
  input_audio_mtok: ['in_audio', 1_000_000],
  input_image_mtok: ['in_image', 1_000_000],
  output_mtok: ['out_text', 1_000_000],
  output_audio_mtok: ['out_audio', 1_000_000],
  output_image_mtok: ['out_image', 1_000_000],
  audio_hours: ['audio_duration_ms', 3_600_000],
  input_audio_hours: ['audio_duration_ms', 3_600_000],
}

export interface GenaiPrices {
  version: string
  /** Names that the list spells out, and ids of its prefix rules. */
  names(provider: 'openai' | 'azure'): string[]
  find(provider: 'openai' | 'azure', name: string): Listed | undefined
}

export function readGenaiPrices(path: string): GenaiPrices {
  const raw = z.object({ version: z.string(), providers: z.object({ openai: z.array(genaiModel), azure: z.array(genaiModel) }) }).parse(JSON.parse(readFileSync(path, 'utf8')))
  return {
    version: raw.version,
    names: (provider) => raw.providers[provider].flatMap((model) => [...equalNames(model.match), ...(/^[a-z][\w.-]*\w$/.test(model.id) ? [model.id] : [])]),
    find: (provider, name) => {
      const models = raw.providers[provider]
      const hit = models.find((model) => equalNames(model.match).includes(name)) ?? models.find((model) => matches(model.match, name))
      return hit && { ...genaiListed(hit), exact: equalNames(hit.match).includes(name) }
    },
  }
}

const equalNames = (rule: Match): string[] => [...(rule.equals === undefined ? [] : [rule.equals]), ...(rule.or_ ?? []).flatMap(equalNames)]
const undated = (name: string): string => name.replace(/-(\d{4}-\d{2}-\d{2}|\d{4})$/, '')

/** A prefix rule covers dated snapshots of that prefix only: a new variant (`-mini`, `-audio`) must never inherit a price by spelling. */
function matches(rule: Match, name: string): boolean {
  if (rule.equals === name || rule.or_?.some((inner) => matches(inner, name))) return true
  if (rule.regex !== undefined && new RegExp(rule.regex).test(name)) return true
  const prefix = rule.starts_with ?? rule.contains
  if (prefix === undefined) return false
  if (prefix.startsWith('ft:')) return name.startsWith(prefix)
  return undated(name) === prefix.replace(/-$/, '') || `${undated(name)}-preview` === prefix || undated(name) === `${prefix}-preview`
}

function genaiListed(model: GenaiModel): Omit<Listed, 'exact'> {
  const dated = Array.isArray(model.prices) ? model.prices : [{ prices: model.prices, constraint: undefined }]
  let threshold: number | null = null
  const put = (period: Period, tier: string, set: z.infer<typeof priceSet>) => {
    for (const [key, value] of Object.entries(set)) {
      const [meter, per] = GENAI_METERS[key] ?? []
      if (meter === undefined || per === undefined) continue
      if (typeof value !== 'string') threshold = value.tiers[0]?.start ?? null
      for (const ctx of ['std', 'long'] as const) {
        const price = typeof value === 'string' ? (ctx === 'std' ? value : undefined) : ctx === 'std' ? value.base : value.tiers[0]?.price
        if (price === undefined) continue
        const at = `${tier}/${ctx}`
        period.prices.set(at, { ...period.prices.get(at), [meter]: perUnit(price, per) })
      }
    }
  }
  const periods = dated.map(({ prices, constraint: start }): Period => {
    const period: Period = { from: start?.start_date ?? null, prices: new Map() }
    put(period, 'default', prices)
    return period
  })
  // Start dates of variants are the days on which somebody verified them, not the days on which the tier was introduced.
  const last = periods.at(-1)
  for (const variant of model.price_variants ?? []) {
    const tier = variant.when['processing'] ?? variant.when['service_tier']
    if (last && tier !== undefined && ['batch', 'flex', 'priority'].includes(tier)) put(last, tier, variant.prices)
  }
  return { periods, long_context_above: threshold, mode: null }
}

// --- exact decimals ---------------------------------------------------------------------------------------------------------

/** `text / per` with at most 12 decimals, half to even; `text` may have an exponent. */
export function perUnit(text: string, per: number): string {
  const [, whole = '', fraction = '', exponent = '0'] = /^(\d+)(?:\.(\d+))?(?:e([+-]?\d+))?$/i.exec(text) ?? []
  if (whole === '') throw new Error(`not a price: ${text}`)
  const digits = BigInt(whole + fraction)
  const scale = 12 + Number(exponent) - fraction.length
  const numerator = scale >= 0 ? digits * 10n ** BigInt(scale) : digits
  const denominator = BigInt(per) * (scale >= 0 ? 1n : 10n ** BigInt(-scale))
  const quotient = numerator / denominator
  const twice = (numerator % denominator) * 2n
  const pico = twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient
  const padded = pico.toString().padStart(13, '0')
  return `${padded.slice(0, -12)}.${padded.slice(-12)}`.replace(/\.?0+$/, '')
}
