/** The price book into the store, where the rollup's dictionary reads it. */
import { picoToUsd } from '../pricing/money.ts'
import type { PriceBook } from '../pricing/price-book.ts'
import type { Store } from '../store/store.ts'
import { dayText, LAST_DAY } from './days.ts'

const COLUMNS = [
  'provider',
  'model',
  'tier',
  'ctx',
  'meter',
  'from_day',
  'last_day',
  'list_price',
  'contract_price',
  'book_version',
  'changed_from',
  'changed_last',
  'version',
  'deleted',
] as const

interface Range {
  from: number
  /** Inclusive. */
  last: number
  list: string
  contract: string
}
/** Key columns as JSON text → periods in order of time. */
type Ranges = Map<string, Range[]>

/**
 * Makes the store's prices equal to the book; says how many rows it wrote (0 when nothing changed). One insert, so the change is
 * seen as a whole. The rollup finds the new version by itself and re-rates the days that it touches, also after a crash here.
 */
export async function loadPrices(store: Store, book: PriceBook): Promise<number> {
  const stored = await storedRanges(store)
  const wanted: Ranges = new Map()
  for (const row of book.rows()) {
    push(wanted, [row.provider, row.model, row.tier, row.ctx, row.meter], {
      from: row.from_day,
      last: Math.min(row.until_day - 1, LAST_DAY),
      list: picoToUsd(row.list),
      contract: picoToUsd(row.contract),
    })
  }
  const [newest] = await store.query<{ version: string }>(`SELECT max(version) AS version FROM ${store.database}.prices`)
  const version = (BigInt(newest?.version ?? '0') + 1n).toString()
  const lines: string[] = []
  for (const key of new Set([...stored.keys(), ...wanted.keys()])) {
    const before = stored.get(key) ?? []
    const after = wanted.get(key) ?? []
    const written = [
      ...after.filter((range) => !before.some((old) => same(old, range) && old.from === range.from && old.last === range.last)).map((range) => ({ range, deleted: 0 })),
      ...before.filter((range) => !after.some((next) => next.from === range.from)).map((range) => ({ range, deleted: 1 })),
    ]
    if (written.length === 0) continue
    // A period that was only cut in two has no day of another price: nothing to re-rate. The last day stands before the first then.
    const [first, last] = changedDays(before, after) ?? [LAST_DAY, 0]
    for (const { range, deleted } of written)
      lines.push(
        JSON.stringify([
          ...(JSON.parse(key) as string[]),
          dayText(range.from),
          dayText(range.last),
          range.list,
          range.contract,
          book.version,
          dayText(first),
          dayText(last),
          version,
          deleted,
        ]),
      )
  }
  if (lines.length > 0) await store.insert('prices', COLUMNS, lines)
  return lines.length
}

async function storedRanges(store: Store): Promise<Ranges> {
  const rows = await store.query<{ key: string[]; first: number; last: number; list: string; contract: string }>(
    `SELECT [provider, model, tier, ctx, meter]::Array(String) AS key, toUInt16(from_day) AS first, toUInt16(last_day) AS last, toString(list_price) AS list, toString(contract_price) AS contract
     FROM ${store.database}.prices FINAL ORDER BY from_day`,
  )
  const ranges: Ranges = new Map()
  for (const { key, first, last, list, contract } of rows) push(ranges, key, { from: first, last, list, contract })
  return ranges
}

function push(ranges: Ranges, key: readonly string[], range: Range): void {
  const text = JSON.stringify(key)
  const list = ranges.get(text)
  if (list) list.push(range)
  else ranges.set(text, [range])
}

const same = (a: Range | undefined, b: Range | undefined): boolean => a?.list === b?.list && a?.contract === b?.contract

/** First and last day on which the two say something else. */
function changedDays(before: readonly Range[], after: readonly Range[]): [first: number, last: number] | undefined {
  const at = (ranges: readonly Range[], day: number) => ranges.find((range) => range.from <= day && day <= range.last)
  const starts = [...new Set([...before, ...after].flatMap((range) => [range.from, range.last + 1]))].filter((day) => day <= LAST_DAY).sort((a, b) => a - b)
  let changed: [number, number] | undefined
  for (const [index, day] of starts.entries()) {
    if (same(at(before, day), at(after, day))) continue
    const end = (starts[index + 1] ?? LAST_DAY + 1) - 1
    changed = [changed?.[0] ?? day, end]
  }
  return changed
}
