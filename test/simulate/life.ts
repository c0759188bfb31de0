/** One run of the collector's process, from its start to its end. A process that was killed does nothing more and hears of nothing more. */
import type { Clock } from '../../runtime/clock.ts'
import type { VirtualClock } from './clock.ts'

export interface LifeOptions {
  /** Which process of the run it is: 1, 2, … */
  id: number
  /** How far the clock of this machine is off, ms, at a true instant. */
  skew: (now: number) => number
  /** At this step, counted from 1, the process is killed, or `instead` is called. undefined: it goes on. */
  ends_at?: number | undefined
  instead?: (() => void) | undefined
}

export class Life {
  readonly died: Promise<void>
  /** The last steps, for the report of a failure. */
  readonly trail: string[] = []
  readonly #clock: VirtualClock
  readonly #options: LifeOptions
  #steps = 0
  #dead = false
  #tell: () => void = () => undefined

  constructor(clock: VirtualClock, options: LifeOptions) {
    this.#clock = clock
    this.#options = options
    this.died = new Promise((resolve) => (this.#tell = resolve))
  }

  get id(): number {
    return this.#options.id
  }

  get dead(): boolean {
    return this.#dead
  }

  get steps(): number {
    return this.#steps
  }

  /** What this process takes for the time. */
  get clock(): Clock {
    return {
      now: () => this.#clock.now() + this.#options.skew(this.#clock.now()),
      sleep: (ms, signal) => this.#survive(this.#clock.sleep(ms, signal)),
    }
  }

  /**
   * Something that reaches out of the process. It may die just before, so that nothing of it happens, or just behind, so that
   * it has happened and nobody knows.
   */
  async step<T>(name: string, work: () => Promise<T>): Promise<T> {
    if (this.#passes(name)) return never()
    try {
      return await this.#survive(work())
    } finally {
      if (!this.#dead && this.#passes(`${name} done`)) await never()
    }
  }

  kill(): void {
    this.#dead = true
    this.#tell()
  }

  #passes(name: string): boolean {
    if (this.#dead) return true
    this.#steps++
    this.trail.push(name)
    if (this.trail.length > 40) this.trail.splice(0, 20)
    if (this.#steps === this.#options.ends_at) (this.#options.instead ?? (() => this.kill()))()
    return this.#dead
  }

  /** The answer, unless the process has died meanwhile: then nobody is there to get it. */
  async #survive<T>(work: Promise<T>): Promise<T> {
    try {
      const result = await work
      return this.#dead ? await never() : result
    } catch (error) {
      if (this.#dead) return never()
      throw error
    }
  }
}

const never = <T>(): Promise<T> => new Promise<T>(() => undefined)
