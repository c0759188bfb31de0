/** A StateStore in memory, for tests of the keyed runner: atomic like the real one, and it can lose its process's last writes. */
import type { StateStore } from '../../store/store.ts'

export interface MemoryState extends StateStore {
  /** From now on puts to this scope are accepted and forgotten: what a crash before the put leaves behind. */
  loseWrites(scope: string): void
  keepWrites(): void
  readonly puts: number
}

export function createMemoryState(): MemoryState {
  const scopes = new Map<string, Map<string, Uint8Array>>()
  const lost = new Set<string>()
  let puts = 0
  const of = (scope: string) => scopes.get(scope) ?? scopes.set(scope, new Map()).get(scope) ?? new Map<string, Uint8Array>()
  return {
    put: (scope, entries) => {
      if (lost.has(scope)) return Promise.resolve()
      puts++
      for (const [key, value] of entries) {
        if (value === undefined) of(scope).delete(key)
        else of(scope).set(key, value.slice())
      }
      return Promise.resolve()
    },
    get: (scope, key) => Promise.resolve(of(scope).get(key)?.slice()),
    list: (scope) => Promise.resolve(new Map(of(scope))),
    loseWrites: (scope) => void lost.add(scope),
    keepWrites: () => lost.clear(),
    get puts() {
      return puts
    },
  }
}
