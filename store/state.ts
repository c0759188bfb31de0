/** Checkpoints and snapshots in the table `state`: one row per scope and key, the highest version wins, deletions are rows too. */
import type { Clock } from '../runtime/clock.ts'
import type { StateStore, Store } from './store.ts'

const COLUMNS = ['scope', 'key', 'value', 'version', 'deleted'] as const

/** `store` is a function because the store holds its state store. One writing process per scope is assumed; readers may be many. */
export function createStateStore(store: () => Store, clock: Clock): StateStore {
  let last = 0n
  let seeded: Promise<void> | undefined
  // Versions never go back, even if the wall clock does between two runs: an older value would win for ever.
  const seed = () =>
    (seeded ??= store()
      .query<{ newest: string }>(`SELECT max(version) AS newest FROM ${store().database}.state`)
      .then(([row]) => {
        const newest = BigInt(row?.newest ?? 0)
        if (newest > last) last = newest
      })
      .catch((error: unknown) => {
        seeded = undefined
        throw error
      }))
  return {
    async put(scope, entries) {
      if (entries.size === 0) return
      await seed()
      const now = BigInt(clock.now()) * 1000n
      last = now > last ? now : last + 1n
      const version = last.toString()
      const lines = Array.from(entries, ([key, value]) =>
        JSON.stringify([
          scope,
          key,
          value === undefined ? '' : Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'),
          version,
          value === undefined ? 1 : 0,
        ]),
      )
      await store().insert('state', COLUMNS, lines)
    },
    async get(scope, key) {
      const [row] = await store().query<{ value: string }>(`SELECT value FROM ${store().database}.state FINAL WHERE scope = {scope:String} AND key = {key:String}`, {
        parameters: { scope, key },
      })
      return row === undefined ? undefined : Buffer.from(row.value, 'base64')
    },
    async list(scope) {
      const rows = await store().query<{ key: string; value: string }>(`SELECT key, value FROM ${store().database}.state FINAL WHERE scope = {scope:String}`, {
        parameters: { scope },
      })
      return new Map(rows.map((row) => [row.key, Buffer.from(row.value, 'base64')]))
    },
  }
}
