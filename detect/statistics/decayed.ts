/** Counters and averages that forget. Times are event time in ms; an older time than the last one adds its decayed share, so order does not matter. */

/** A count with exponential decay. */
export class DecayedCount {
  readonly #half_life: number
  #value: number
  #at: number

  constructor(half_life: number, value = 0, at = 0) {
    this.#half_life = half_life
    this.#value = value
    this.#at = at
  }

  add(at: number, amount = 1): void {
    if (at >= this.#at) {
      this.#value = this.#value * this.#factor(at - this.#at) + amount
      this.#at = at
    } else this.#value += amount * this.#factor(this.#at - at)
  }

  at(time: number): number {
    return time >= this.#at ? this.#value * this.#factor(time - this.#at) : this.#value
  }

  toJSON(): [number, number] {
    return [this.#value, this.#at]
  }

  static fromJSON([value, at]: [number, number], half_life: number): DecayedCount {
    return new DecayedCount(half_life, value, at)
  }

  #factor(elapsed: number): number {
    return elapsed === 0 ? 1 : 2 ** (-elapsed / this.#half_life)
  }
}

/** Exponentially weighted mean and variance; the first values count equally (weight 1/n down to `floor`). */
export class Ewma {
  readonly floor: number
  n: number
  mean: number
  variance: number

  constructor(floor: number, n = 0, mean = 0, variance = 0) {
    this.floor = floor
    this.n = n
    this.mean = mean
    this.variance = variance
  }

  add(value: number): void {
    this.n++
    const weight = Math.max(this.floor, 1 / this.n)
    const off = value - this.mean
    this.mean += weight * off
    this.variance = (1 - weight) * (this.variance + weight * off * off)
  }

  toJSON(): [number, number, number] {
    return [this.n, this.mean, this.variance]
  }

  static fromJSON([n, mean, variance]: [number, number, number], floor: number): Ewma {
    return new Ewma(floor, n, mean, variance)
  }
}
