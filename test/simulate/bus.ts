/** Bus and state store that keep exactly what they acknowledged, and now and then what they did not. */
import type { Bus } from '../../bus/bus.ts'
import { TransientError } from '../../runtime/errors.ts'
import type { Random } from '../../runtime/random.ts'
import type { TopicName } from '../../schemas/topics.ts'
import type { StateStore } from '../../store/store.ts'
import type { VirtualClock } from './clock.ts'
import type { Life } from './life.ts'
import { between, chance, hits, pick, type Storm } from './weather.ts'

interface Plan {
  /** The bus is away, or loses acknowledgements. */
  bus: readonly Storm[]
  state: readonly Storm[]
}

export interface Witness {
  published(topic: TopicName, values: readonly unknown[], life: Life): void
  stored(scope: string, key: string, value: Uint8Array | undefined, life: Life): void
}

/** What outlives the process. */
export class Durable {
  readonly #state = new Map<string, Uint8Array>()
  readonly #clock: VirtualClock
  readonly #random: Random
  readonly #plan: Plan
  readonly #witness: Witness

  constructor(clock: VirtualClock, random: Random, plan: Plan, witness: Witness) {
    this.#clock = clock
    this.#random = random
    this.#plan = plan
    this.#witness = witness
  }

  /** The bus as one process sees it. Only `publish` is there. */
  bus(life: Life): Bus {
    return { publish: (topic: TopicName, values: readonly unknown[]) => life.step(`publish ${topic}`, () => this.#publish(topic, values, life)) } as unknown as Bus
  }

  state(life: Life): StateStore {
    return {
      put: (scope, entries) => life.step('state put', () => this.#put(scope, entries, life)),
      get: (scope, key) =>
        life.step('state get', async () => {
          await this.#answer(5)
          if (hits(this.#plan.state, this.#clock.now(), this.#random)) throw new TransientError('the store is away')
          return this.#state.get(`${scope} ${key}`)
        }),
      list: (scope) =>
        life.step('state list', async () => {
          await this.#answer(5)
          return new Map([...this.#state].filter(([key]) => key.startsWith(`${scope} `)).map(([key, value]) => [key.slice(scope.length + 1), value]))
        }),
    }
  }

  /** A refusal says nothing: all, some or none of it may have been written. */
  async #publish(topic: TopicName, values: readonly unknown[], life: Life): Promise<void> {
    await this.#answer(20)
    if (!hits(this.#plan.bus, this.#clock.now(), this.#random)) return this.#witness.published(topic, values, life)
    const written = pick(this.#random, ['none', 'some', 'all'] as const)
    if (written !== 'none') {
      const kept = written === 'all' ? values : values.filter(() => chance(this.#random, 0.5))
      this.#witness.published(topic, kept, life)
    }
    await this.#answer(2_000)
    throw new TransientError('the bus does not answer')
  }

  async #put(scope: string, entries: ReadonlyMap<string, Uint8Array | undefined>, life: Life): Promise<void> {
    await this.#answer(10)
    const refused = hits(this.#plan.state, this.#clock.now(), this.#random)
    if (!refused || chance(this.#random, 0.5)) {
      for (const [key, value] of entries) {
        // The caller may change its bytes later, a store may not.
        if (value === undefined) this.#state.delete(`${scope} ${key}`)
        else this.#state.set(`${scope} ${key}`, Uint8Array.from(value))
        this.#witness.stored(scope, key, value, life)
      }
    }
    if (refused) throw new TransientError('the store does not answer')
  }

  #answer(most: number): Promise<void> {
    return this.#clock.sleep(between(this.#random, 1, most))
  }
}
