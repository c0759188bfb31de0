/** The rating engine: exact pico-USD from disjoint meters. The rollup's SQL must give the same to the last digit. */
import type { UsageEvent } from '../schemas/usage.ts'
import { metersOf, meterNames } from './meters.ts'
import { picoToUsd } from './money.ts'
import type { PricePeriod } from './price-bands.ts'
import type { PriceBook } from './price-book.ts'

export type Rateable = Pick<
  UsageEvent,
  | 'provider'
  | 'model'
  | 'request_model'
  | 'deployment'
  | 'tier'
  | 'event_time'
  | 'usage_source'
  | 'input_tokens'
  | 'output_tokens'
  | 'cache_read_input_tokens'
  | 'cache_write_input_tokens'
  | 'audio_input_tokens'
  | 'image_input_tokens'
  | 'audio_output_tokens'
  | 'image_output_tokens'
  | 'images'
  | 'audio_duration_ms'
>

export interface Rating {
  /** The name under which the book was asked and answered; null: the book does not know the model. */
  model_priced: string | null
  /** To be stamped on the event: the rollup prices by the event's ctx. */
  ctx: 'std' | 'long'
  /** Contract price of the priced meters. null: nothing is known (unmetered, or no meter with a quantity has a price). 0 for a metered request without tokens. */
  cost_pico: bigint | null
  list_cost_pico: bigint | null
  cost_usd: string | null
  list_cost_usd: string | null
  /** Some meter has a quantity but no price: cost is a lower bound or null. Stamp the flag `unpriced`. */
  unpriced: boolean
  /** The cache split is unknown and the model has a cheaper cache price: cost is an upper bound. Stamp the flag `cost-upper-bound`. */
  upper_bound: boolean
  price_version: string
}

export interface Rater {
  readonly price_version: string
  rate(event: Rateable): Rating
}

const DAY_MS = 86_400_000
const IN_UNCACHED = meterNames.indexOf('in_uncached')
const IN_CACHE_READ = meterNames.indexOf('in_cache_read')

export function createRater(book: PriceBook): Rater {
  const price_version = book.version
  const rate = (event: Rateable): Rating => {
    const name = pricedName(event)
    const model = name === null ? undefined : book.model(event.provider, name)
    const above = model?.long_context_above ?? null
    const ctx = above !== null && event.input_tokens !== null && event.input_tokens > above ? 'long' : 'std'
    const period = model && periodAt(model.periods.get(`${event.tier}/${ctx}`), Math.floor(event.event_time / DAY_MS))
    const meters = event.usage_source === 'absent' ? null : metersOf(event)
    const contract = new PicoSum()
    const list = new PicoSum()
    let metered = false
    let priced = false
    let unpriced = false
    for (let index = 0; index < meterNames.length; index++) {
      const quantity = meters?.[meterNames[index]!] ?? null
      if (quantity === null) continue
      metered = true
      if (quantity === 0) continue
      const price = period?.contract[index]
      if (price === null || price === undefined) {
        unpriced = true
        continue
      }
      priced = true
      contract.add(quantity, price)
      list.add(quantity, period?.list[index] ?? price)
    }
    const known = metered && (priced || !unpriced)
    const cost_pico = known ? contract.total() : null
    const list_cost_pico = known ? list.total() : null
    const cost_usd = cost_pico === null ? null : picoToUsd(cost_pico)
    return {
      model_priced: model === undefined ? null : name,
      ctx,
      cost_pico,
      list_cost_pico,
      cost_usd,
      list_cost_usd: list_cost_pico === null || list_cost_pico === cost_pico ? cost_usd : picoToUsd(list_cost_pico),
      unpriced,
      upper_bound: priced && event.cache_read_input_tokens === null && (meters?.in_uncached ?? 0) > 0 && cachesCheaper(period),
      price_version,
    }
  }
  return { price_version, rate }
}

/**
 * The name that the book is asked for: the model that answered, else what was asked for, else the deployment. Fine-tuned models
 * (`ft:base:organisation:name:id`) are priced by `ft:base`. The rollup's SQL does the same (store/migrations/ledger-0003).
 */
export function pricedName(event: Pick<UsageEvent, 'model' | 'request_model' | 'deployment'>): string | null {
  const name = event.model ?? event.request_model ?? event.deployment
  if (name === null || !name.startsWith('ft:')) return name
  const end = name.indexOf(':', 3)
  return end < 0 ? name : name.slice(0, end)
}

function periodAt(periods: readonly PricePeriod[] | undefined, day: number): PricePeriod | undefined {
  if (periods === undefined) return undefined
  for (let index = periods.length - 1; index >= 0; index--) {
    const period = periods[index]!
    if (period.from_day <= day) return day < period.until_day ? period : undefined
  }
  return undefined
}

function cachesCheaper(period: PricePeriod | undefined): boolean {
  const cached = period?.contract[IN_CACHE_READ]
  const uncached = period?.contract[IN_UNCACHED]
  return cached !== null && cached !== undefined && uncached !== null && uncached !== undefined && cached < uncached
}

/** Exact sum of products: whole numbers in doubles while they are safe (nearly always), bigint beyond. */
class PicoSum {
  #small = 0
  #large = 0n

  add(quantity: number, price: bigint): void {
    const product = quantity * Number(price)
    const sum = this.#small + product
    // Both checks: a product beyond 2^53 may have been rounded although the sum looks whole.
    if (product <= Number.MAX_SAFE_INTEGER && sum <= Number.MAX_SAFE_INTEGER) this.#small = sum
    else this.#large += BigInt(quantity) * price
  }

  total(): bigint {
    return this.#large + BigInt(this.#small)
  }
}
