/** A bounded memory of what came lately, for texts that come again and again. */
export interface Recent<K, V> {
  get(key: K): V | undefined
  set(key: K, value: V): void
}

/**
 * Holds at least the `size` keys that came or were asked for last, at most twice as many. When the newer half is full the older one is forgotten, but for
 * what was asked for since: clearing everything would lose the frequent ones with the rare.
 */
export function createRecent<K, V>(size: number): Recent<K, V> {
  let newer = new Map<K, V>()
  let older = new Map<K, V>()
  const set = (key: K, value: V): void => {
    if (newer.size >= size) {
      older = newer
      newer = new Map()
    }
    newer.set(key, value)
  }
  return {
    get: (key) => {
      const value = newer.get(key)
      if (value !== undefined) return value
      const old = older.get(key)
      if (old !== undefined) set(key, old)
      return old
    },
    set,
  }
}
