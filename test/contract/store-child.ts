/** The writer in a process of its own, on an embedded bus and store: `store-child.ts DATA_DIR`. Prints "drained" when all is committed. */
process.env['UV_THREADPOOL_SIZE'] = '16'
import { join } from 'node:path'
import { openEmbeddedBus } from '../../bus/embedded.ts'
import { systemClock } from '../../runtime/clock.ts'
import { silentLogger } from '../../runtime/log.ts'
import { storeConfig } from '../../store/config.ts'
import { openStore } from '../../store/index.ts'
import { runWriter } from '../../store/writer.ts'

const [, , data_dir = ''] = process.argv
const deps = { clock: systemClock, log: silentLogger }
const bus = openEmbeddedBus({ directory: join(data_dir, 'bus') }, deps)
const store = await openStore(storeConfig.parse({ kind: 'embedded' }), { ...deps, data_dir })
const abort = new AbortController()
const writing = runWriter({ bus, store, ...deps, options: { max_rows: 1000 } }, abort.signal)
while (!(await bus.lag('store')).some(({ end }) => end > 0n) || (await bus.lag('store')).some(({ committed, end }) => end > 0n && committed !== end)) await systemClock.sleep(100)
const [row] = await store.query<{ events: string; tokens: string }>('SELECT count() AS events, sum(input_tokens) AS tokens FROM usage_events FINAL')
process.stdout.write(`drained ${JSON.stringify(row)}\n`)
abort.abort()
await writing
await store.close()
await bus.close()
