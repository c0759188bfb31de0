/** Averages that forget. */

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
