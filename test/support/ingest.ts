/** Stand-ins for tests of the collector: a bus and a state store that keep everything in memory and can be broken. */
import type { Bus } from '../../bus/bus.ts'
import { TransientError } from '../../runtime/errors.ts'
import type { Rater } from '../../pricing/rate.ts'
import type { Clock } from '../../runtime/clock.ts'
import type { TopicName, TopicValue } from '../../schemas/topics.ts'
import type { StateStore } from '../../store/store.ts'

/** Knows no prices. */
export const noPrices: Pick<Rater, 'rate'> = {
  rate: () => ({
    model_priced: null,
    ctx: 'std',
    cost_pico: null,
    list_cost_pico: null,
    cost_usd: null,
    list_cost_usd: null,
    unpriced: false,
    upper_bound: false,
    price_version: 'none',
  }),
}

/** A clock that stands still unless it is told to move; sleeping moves it. */
export class ManualClock implements Clock {
  #now: number

  constructor(now: number) {
    this.#now = now
  }

  now(): number {
    return this.#now
  }

  advance(ms: number): void {
    this.#now += Math.ceil(ms)
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return
    this.#now += Math.ceil(ms)
    await new Promise<void>((resolve) => setImmediate(resolve))
  }
}

type Published = { [T in TopicName]: { topic: T; value: TopicValue<T> } }[TopicName]

/** Only `publish` is there. `fail` says how many of the next calls are refused, after or before they were written. */
export class MemoryBus {
  readonly published: Published[] = []
  fail: { times: number; written: boolean } = { times: 0, written: false }
  /** Called with each successful publish. */
  onPublish: ((topic: TopicName) => void) | undefined

  get bus(): Bus {
    return { publish: (topic: TopicName, values: readonly never[]) => this.#publish(topic, values) } as unknown as Bus
  }

  of<T extends TopicName>(topic: T): TopicValue<T>[] {
    return this.published.flatMap((record) => (record.topic === topic ? [record.value as TopicValue<T>] : []))
  }

  async #publish(topic: TopicName, values: readonly never[]): Promise<void> {
    const fails = this.fail.times > 0
    if (!fails || this.fail.written) for (const value of values) this.published.push({ topic, value })
    if (fails) {
      this.fail.times--
      throw new TransientError('the bus is away')
    }
    this.onPublish?.(topic)
  }
}

export class MemoryState implements StateStore {
  readonly entries = new Map<string, Uint8Array>()
  puts = 0

  async put(scope: string, entries: ReadonlyMap<string, Uint8Array | undefined>): Promise<void> {
    this.puts++
    for (const [key, value] of entries) {
      if (value === undefined) this.entries.delete(`${scope} ${key}`)
      else this.entries.set(`${scope} ${key}`, value)
    }
  }

  async get(scope: string, key: string): Promise<Uint8Array | undefined> {
    return this.entries.get(`${scope} ${key}`)
  }

  async list(scope: string): Promise<Map<string, Uint8Array>> {
    return new Map([...this.entries].filter(([key]) => key.startsWith(`${scope} `)).map(([key, value]) => [key.slice(scope.length + 1), value]))
  }
}
