/** Bus and store of a config, opened and made ready: topics, migrations, prices, owners. */
import type { Bus } from '../bus/bus.ts'
import { createBus } from '../bus/index.ts'
import { claimInput } from '../ingest/sources/file/stdin.ts'
import { loadAttribution, readAttribution } from '../ledger/attribution.ts'
import { loadPrices } from '../ledger/prices.ts'
import { loadPriceBook, type PriceBook } from '../pricing/price-book.ts'
import { retry } from '../runtime/retry.ts'
import type { AttributionEntry } from '../schemas/attribution.ts'
import { openStore } from '../store/index.ts'
import type { Store } from '../store/store.ts'
import type { Context } from './context.ts'

export interface System {
  context: Context
  bus: Bus
  store: Store
  book: PriceBook
  attribution: AttributionEntry[]
  close(): Promise<void>
}

/** Waits for a bus or a store that is away and says so once; rejects at once when another process owns the embedded directory. */
export async function openSystem(context: Context, signal: AbortSignal): Promise<System> {
  claimInput(false)
  const { config, clock, log } = context
  const { book, attribution } = readBooks(context)
  const bus = createBus(config.bus, context)
  try {
    await retry(() => bus.prepare(signal), { clock, signal, log, what: 'the bus' })
    const store = await openStore(config.store, { ...context, signal })
    try {
      await loadPrices(store, book)
      await loadAttribution(store, attribution)
    } catch (error) {
      await store.close()
      throw error
    }
    return { context, bus, store, book, attribution, close: async () => void (await Promise.allSettled([bus.close(), store.close()])) }
  } catch (error) {
    await bus.close()
    throw error
  }
}

/** Prices and owners as the config has them; throws UsageError for a broken file. */
export function readBooks({ config, file }: Context): Pick<System, 'book' | 'attribution'> {
  return { book: loadPriceBook(config.prices), attribution: readAttribution(config.attribution, file ?? undefined) }
}
