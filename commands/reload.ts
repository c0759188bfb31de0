/** SIGHUP: prices and owners are read again by the running process. Whatever else a config says needs a restart, and that is said. */
import { closeSync, openSync } from 'node:fs'
import { loadAttribution } from '../ledger/attribution.ts'
import { loadPrices } from '../ledger/prices.ts'
import { messageOf } from '../runtime/errors.ts'
import { loadContext } from './context.ts'
import type { GlobalOptions } from './program.ts'
import { readBooks, type System } from './system.ts'

/** Listens until the returned function is called. A config that is wrong, or a store that is away, leaves everything as it was. */
export function reloadOnHangup(system: System, options: GlobalOptions): () => void {
  let reloading = Promise.resolve()
  const onSignal = () => {
    // The terminal was closed: what was started in it ends with it, but drained.
    if (process.stdout.isTTY && terminalIsGone()) process.kill(process.pid, 'SIGTERM')
    else reloading = reloading.then(() => reload(system, options))
  }
  process.on('SIGHUP', onSignal)
  return () => void process.off('SIGHUP', onSignal)
}

async function reload(system: System, options: GlobalOptions): Promise<void> {
  const { log } = system.context
  try {
    const context = loadContext(options)
    const { book, attribution } = readBooks(context)
    const prices = await loadPrices(system.store, book)
    const owners = await loadAttribution(system.store, attribution)
    system.book = book
    system.attribution = attribution
    log.info('prices and owners were read again', { price_version: book.version, changed_prices: prices, changed_owners: owners })
    if (others(context.config) !== others(system.context.config)) log.warn('the config has other changes as well: they need a restart')
  } catch (error) {
    log.error('prices and owners could not be read again: the old ones stay', { error: messageOf(error) })
  }
}

const others = ({ prices: _prices, attribution: _attribution, ...rest }: System['context']['config']): string => JSON.stringify(rest)

function terminalIsGone(): boolean {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return false
  } catch {
    return true
  }
}
