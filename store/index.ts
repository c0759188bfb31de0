/** The one door to the store: the config says which kind. */
import { join } from 'node:path'
import { connectClickHouse, type StoreDeps } from './clickhouse.ts'
import type { StoreConfig } from './config.ts'
import { openEmbeddedStore } from './embedded.ts'
import { migrate } from './migrate.ts'
import type { Store } from './store.ts'

export interface OpenStoreDeps extends StoreDeps {
  data_dir: string
}

/** Opens the store and brings its tables up to date. A server that does not answer yet is waited for until deps.signal aborts. */
export async function openStore(config: StoreConfig, deps: OpenStoreDeps): Promise<Store> {
  const store =
    config.kind === 'embedded'
      ? await openEmbeddedStore({ directory: join(deps.data_dir, 'store'), database: config.database, limits: config.limits }, deps)
      : await connectClickHouse(config, deps)
  try {
    await migrate(store, config.kind === 'clickhouse' && config.cluster !== undefined ? { cluster: config.cluster } : {}, deps)
  } catch (error) {
    await store.close()
    throw error
  }
  return store
}
