/** Merges a book and its overlays into periods without overlap, one array of unit prices per period. */
import type { BookEntry, BookFile } from './book-file.ts'
import { type MeterName, meterNames } from './meters.ts'
import { scalePico, usdToPico } from './money.ts'
import type { PriceOverlay } from './overlay.ts'

/** Prices in pico-USD in the order of meterNames; null: no price. */
export interface PricePeriod {
  from_day: number
  until_day: number
  list: (bigint | null)[]
  contract: (bigint | null)[]
}

export interface ModelBands {
  long_context_above: number | null
  /** By `tier/ctx`, in order of time, without overlap. */
  periods: Map<string, PricePeriod[]>
}

/** ClickHouse's Date ends on 2149-06-06; the day after stands for "open". */
export const OPEN_DAY = 65_536
export const AZURE = 'azure.ai.openai'
const DAY_MS = 86_400_000
const dayNumber = (day: string | null, otherwise: number): number => (day === null ? otherwise : Date.parse(day) / DAY_MS)

interface Range {
  from: number
  until: number
  price: bigint
}
/** tier/ctx/meter → ranges, for one model. */
type Ranges = Map<string, Range[]>
interface ModelRanges {
  long_context_above: number | null
  list: Ranges
  contract: Ranges
}
type Models = Map<string, Map<string, ModelRanges>>

/** Problems are added to `problems`, each with the place in the file. */
export function withOverlay(book: BookFile, overlays: readonly PriceOverlay[], problems: string[]): Map<string, Map<string, ModelBands>> {
  const models: Models = new Map()
  addEntries(models, book.entries, 'list', `price book ${book.version}`, problems)
  for (const overlay of overlays) {
    overrideEntries(models, overlay.list, 'list', 'prices.list', problems)
    applyDiscounts(models, overlay, problems)
    overrideEntries(models, overlay.contract, 'contract', 'prices.contract', problems)
    addDeployments(models, overlay, problems)
  }
  return new Map([...models].map(([provider, names]) => [provider, new Map([...names].map(([name, ranges]) => [name, toBands(ranges)]))]))
}

function addEntries(models: Models, entries: readonly BookEntry[], side: 'list' | 'contract', where: string, problems: string[]): void {
  for (const entry of entries) {
    for (const name of entry.models) {
      const model = modelOf(models, entry.provider, name)
      model.long_context_above = entry.long_context_above ?? model.long_context_above
      for (const price of entry.prices) {
        const from = dayNumber(price.from, 0)
        const until = dayNumber(price.until, OPEN_DAY)
        for (const [meter, usd] of Object.entries(price.usd)) {
          const key = `${price.tier}/${price.ctx}/${meter}`
          const ranges = model[side].get(key) ?? []
          if (ranges.some((range) => range.from < until && from < range.until)) problems.push(`${where}: ${entry.provider} ${name} ${key} has overlapping periods`)
          ranges.push({ from, until, price: usdToPico(usd) })
          model[side].set(key, ranges)
        }
      }
      if (entry.prices.some((price) => price.ctx === 'long') && model.long_context_above === null)
        problems.push(`${where}: ${entry.provider} ${name} has long-context prices but no long_context_above`)
    }
  }
}

/** Overlay prices replace what is there in their period, and leave the rest. */
function overrideEntries(models: Models, entries: readonly BookEntry[], side: 'list' | 'contract', where: string, problems: string[]): void {
  const own: Models = new Map()
  addEntries(own, entries, side, where, problems)
  for (const [provider, names] of own) {
    for (const [name, added] of names) {
      const model = modelOf(models, provider, name)
      model.long_context_above = added.long_context_above ?? model.long_context_above
      for (const [key, ranges] of added[side]) for (const range of ranges) put(model[side], key, range)
    }
  }
}

function applyDiscounts(models: Models, overlay: PriceOverlay, problems: string[]): void {
  for (const [index, discount] of overlay.discounts.entries()) {
    const names = models.get(discount.provider)
    if (names === undefined) problems.push(`prices.discounts.${index}.provider: no prices for the provider "${discount.provider}"; known are ${[...models.keys()].join(', ')}`)
    const from = dayNumber(discount.from, 0)
    const until = dayNumber(discount.until, OPEN_DAY)
    const keep = 1_000_000n - usdToPico(discount.percent) / 100_000_000n // percent with 4 decimals → parts per million
    for (const name of discount.models ?? names?.keys() ?? []) {
      const model = names?.get(name)
      if (model === undefined) {
        if (names) problems.push(`prices.discounts.${index}.models: ${discount.provider} has no model "${name}"`)
        continue
      }
      for (const [key, ranges] of model.list) {
        if (discount.tiers && !discount.tiers.includes(key.split('/')[0] ?? '')) continue
        for (const range of ranges) {
          const cut = { from: Math.max(from, range.from), until: Math.min(until, range.until), price: scalePico(range.price, keep, 1_000_000n) }
          if (cut.from < cut.until) put(model.contract, key, cut)
        }
      }
    }
  }
}

function addDeployments(models: Models, overlay: PriceOverlay, problems: string[]): void {
  // All are looked up before any is set: a deployment is often called like another model.
  const found = Object.entries(overlay.deployments).map(([deployment, name]) => ({ deployment, name, model: models.get(AZURE)?.get(name) }))
  for (const { deployment, name, model } of found) {
    if (model === undefined) problems.push(`prices.deployments.${deployment}: ${AZURE} has no model "${name}"`)
    else models.get(AZURE)?.set(deployment, model)
  }
}

function modelOf(models: Models, provider: string, name: string): ModelRanges {
  const names = models.get(provider) ?? new Map<string, ModelRanges>()
  models.set(provider, names)
  const model = names.get(name) ?? { long_context_above: null, list: new Map(), contract: new Map() }
  names.set(name, model)
  return model
}

function put(ranges: Ranges, key: string, range: Range): void {
  const rest = (ranges.get(key) ?? []).flatMap((old) => [
    ...(old.from < range.from ? [{ ...old, until: Math.min(old.until, range.from) }] : []),
    ...(old.until > range.until ? [{ ...old, from: Math.max(old.from, range.until) }] : []),
  ])
  ranges.set(key, [...rest, range])
}

/** Cuts the periods of all meters of a tier at every boundary, so that one array answers for a day. */
function toBands(model: ModelRanges): ModelBands {
  const cuts = new Map<string, Set<number>>()
  for (const side of [model.list, model.contract]) {
    for (const [key, ranges] of side) {
      const band = key.slice(0, key.lastIndexOf('/'))
      const days = cuts.get(band) ?? new Set()
      for (const range of ranges) days.add(range.from).add(range.until)
      cuts.set(band, days)
    }
  }
  const periods = new Map<string, PricePeriod[]>()
  for (const [band, set] of cuts) {
    const days = [...set].sort((a, b) => a - b)
    const found: PricePeriod[] = []
    for (const [index, from_day] of days.entries()) {
      const until_day = days[index + 1]
      if (until_day === undefined) continue
      const at = (ranges: Ranges, meter: MeterName) => ranges.get(`${band}/${meter}`)?.find((range) => range.from <= from_day && from_day < range.until)?.price ?? null
      const contract = meterNames.map((meter) => at(model.contract, meter) ?? at(model.list, meter))
      // A contract price without a list price (own models) is its own list price: both sides are known or neither.
      const list = meterNames.map((meter, index) => at(model.list, meter) ?? contract[index] ?? null)
      if (contract.some((price) => price !== null)) found.push({ from_day, until_day, list, contract })
    }
    periods.set(band, found)
  }
  return { long_context_above: model.long_context_above, periods }
}
