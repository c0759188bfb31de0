/** The price book: dated unit prices by provider, model, tier, context and meter, checked when loaded. Never fetched at run time. */
import { readFileSync } from 'node:fs'
import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { messageOf, UsageError } from '../runtime/errors.ts'
import { sha256Hex } from '../runtime/ids.ts'
import { type BookFile, bookFile } from './book-file.ts'
import { type MeterName, meterNames } from './meters.ts'
import { type PriceOverlay, priceOverlay } from './overlay.ts'
import { type ModelBands, withOverlay } from './price-bands.ts'

export const BUILT_IN_BOOK = new URL('books/2026-11-22.json', import.meta.url)

/** One unit price in one period. Days are days since 1970-01-01 UTC; `until_day` is exclusive. */
export interface PriceRow {
  provider: string
  model: string
  tier: string
  ctx: 'std' | 'long'
  meter: MeterName
  from_day: number
  until_day: number
  list: bigint
  contract: bigint
}

export interface PriceBook {
  /** Date of the book, and a hash of the overlay if there is one: "2026-11-22", "2026-11-22+3f9a1c". */
  readonly version: string
  model(provider: string, name: string): ModelBands | undefined
  /** Every price of every name: what the store's price dictionary holds. */
  rows(): PriceRow[]
}

/** The section `prices` of the config: an overlay inline, and paths. */
export interface BookOptions extends Partial<PriceOverlay> {
  /** Path or URL of a book file; the built-in book by default. */
  book?: string | URL | undefined
  /** Path of an overlay file (YAML or JSON), applied before the inline one. */
  overlay_file?: string | undefined
}

/** Throws UsageError that lists every problem of the files. */
export function loadPriceBook(options: BookOptions = {}): PriceBook {
  const { book = BUILT_IN_BOOK, overlay_file, list = [], contract = [], discounts = [], deployments = {} } = options
  const overlays = [...(overlay_file === undefined ? [] : [readStrict(overlay_file, priceOverlay, 'price overlay')]), { list, contract, discounts, deployments }]
  return createPriceBook(readStrict(book, bookFile, 'price book'), overlays.filter(saysSomething))
}

const saysSomething = (overlay: PriceOverlay): boolean => overlay.list.length + overlay.contract.length + overlay.discounts.length + Object.keys(overlay.deployments).length > 0

/** The same from parsed files. Throws UsageError for overlapping periods and unknown names. */
export function createPriceBook(book: BookFile, overlays: readonly PriceOverlay[] = []): PriceBook {
  const problems: string[] = []
  const models = withOverlay(book, overlays, problems)
  if (problems.length > 0) throw new UsageError(problems)
  const version = overlays.length === 0 ? book.version : `${book.version}+${sha256Hex(JSON.stringify(overlays)).slice(0, 6)}`
  return {
    version,
    model: (provider, name) => models.get(provider)?.get(name),
    rows: () => [...models].flatMap(([provider, names]) => [...names].flatMap(([model, bands]) => rowsOf(provider, model, bands))),
  }
}

function rowsOf(provider: string, model: string, bands: ModelBands): PriceRow[] {
  const rows: PriceRow[] = []
  for (const [key, periods] of bands.periods) {
    const [tier = '', ctx] = key.split('/')
    for (const period of periods) {
      for (const [index, meter] of meterNames.entries()) {
        const list = period.list[index]
        const contract = period.contract[index]
        if (list === null || list === undefined || contract === null || contract === undefined) continue
        rows.push({ provider, model, tier, ctx: ctx === 'long' ? 'long' : 'std', meter, from_day: period.from_day, until_day: period.until_day, list, contract })
      }
    }
  }
  return rows
}

function readStrict<T>(path: string | URL, schema: z.ZodType<T>, what: string): T {
  let value: unknown
  try {
    const text = readFileSync(path, 'utf8')
    value = String(path).endsWith('.json') ? JSON.parse(text) : parseYaml(text)
  } catch (error) {
    throw new UsageError(`the ${what} ${String(path)} cannot be read: ${messageOf(error)}`)
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  throw new UsageError(parsed.error.issues.map((issue) => `${String(path)}: ${issue.path.map(String).join('.') || '(top)'}: ${issue.message}`))
}
