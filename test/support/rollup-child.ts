/** A process to be killed: writes events of three days into the store of argv[2] and rolls them up. */
import { loadPrices } from '../../ledger/prices.ts'
import { rebuildDirtyDays } from '../../ledger/rollup.ts'
import { loadPriceBook } from '../../pricing/price-book.ts'
import { createRater } from '../../pricing/rate.ts'
import { insertUsage, openLedgerStore, usage } from './ledger-store.ts'

const { store, close } = await openLedgerStore(process.argv[2])
const book = loadPriceBook()
const rater = createRater(book)
await loadPrices(store, book)
const event = (id: string, day: number) => usage(id, { event_time: Date.UTC(2026, 9, day, 8), input_tokens: 1000, cache_read_input_tokens: 0, output_tokens: 100 }, rater)
await insertUsage(store, [event('1', 5), event('2', 5), event('3', 6), event('4', 7)])
await rebuildDirtyDays(store)
await close()
