/** Bus and store of a config, opened and made ready: topics, migrations, prices, owners. */
import type { Bus } from '../bus/bus.ts'
import { createBus } from '../bus/index.ts'
import { claimInput } from '../ingest/sources/file/stdin.ts'
import { loadAttribution, readAttribution } from '../ledger/attribution.ts'
import { loadPrices } from '../ledger/prices.ts'
import { loadPriceBook, type PriceBook } from '../pricing/price-book.ts'
import { messageOf, PermanentError } from '../runtime/errors.ts'
import { retry } from '../runtime/retry.ts'
import type { AttributionEntry } from '../schemas/attribution.ts'
import { openStore } from '../store/index.ts'
import { readRunFile } from '../store/owner.ts'
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
    const store = await openOwn(context, signal)
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

/** How long a short command (a `query` of a person) may hold the embedded directory before a start gives up. */
const LOCK_WAIT_TRIES = 20

/** Said here, in our words: the engine would print its own about a locked file. */
function refuseSecondOwner(data_dir: string): void {
  const owner = readRunFile(data_dir)
  if (owner === undefined) return
  throw new PermanentError(
    `tokenwatch is running on ${data_dir} already (pid ${owner.pid}, ${owner.url}), and only one process can own an embedded store. Stop that one, or name another directory with --data-dir; query, alerts and ingest work beside it.`,
  )
}

/** Opens the store. A directory that a living owner holds is refused at once; one that a short command holds is waited for. */
async function openOwn(context: Context, signal: AbortSignal): Promise<Store> {
  const { config, clock, log, data_dir } = context
  const open = () => openStore(config.store, { ...context, signal })
  if (config.store.kind !== 'embedded') return open()
  const openAlone = (): Promise<Store> => {
    refuseSecondOwner(data_dir)
    return open()
  }
  const held = (error: unknown) => messageOf(error).includes('another process')
  return retry(openAlone, { clock, signal, log, what: 'the store that another command has open', retryable: held, max_tries: LOCK_WAIT_TRIES, cap_ms: 1_000 })
}
