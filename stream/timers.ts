/** A heap of wishes "wake me at": smallest time first, ties in a fixed order. An entry that its key no longer wants is skipped by the caller. */

export interface Timer<K> {
  at: number
  /** Breaks ties, so that the order of ticks does not depend on the order of arrival. */
  order: string
  key: K
}

export class Timers<K> {
  readonly #heap: Timer<K>[] = []

  get size(): number {
    return this.#heap.length
  }

  push(timer: Timer<K>): void {
    const heap = this.#heap
    let index = heap.push(timer) - 1
    while (index > 0) {
      const parent = (index - 1) >> 1
      const above = heap[parent]
      if (above === undefined || !before(timer, above)) break
      heap[index] = above
      index = parent
    }
    heap[index] = timer
  }

  /** Removes and returns the earliest entry at or before `until`. */
  popDue(until: number): Timer<K> | undefined {
    const heap = this.#heap
    const top = heap[0]
    if (top === undefined || top.at > until) return undefined
    const last = heap.pop()
    if (last !== undefined && heap.length > 0) this.#sink(last)
    return top
  }

  #sink(timer: Timer<K>): void {
    const heap = this.#heap
    let index = 0
    for (;;) {
      const left = heap[2 * index + 1]
      const right = heap[2 * index + 2]
      if (left === undefined) break
      const [child, next] = right !== undefined && before(right, left) ? [right, 2 * index + 2] : [left, 2 * index + 1]
      if (!before(child, timer)) break
      heap[index] = child
      index = next
    }
    heap[index] = timer
  }
}

const before = <K>(a: Timer<K>, b: Timer<K>): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)
