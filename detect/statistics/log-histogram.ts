/**
 * A streaming sketch of a signed quantity: logarithmic bins (relative error 3 %), forward decay. Constant memory: 2 x 384 floats
 * cover 1 … 5e9 on both sides; smaller absolute values share the bin of zero. Choose the unit accordingly.
 *
 * Forward decay (Cormode et al.): instead of shrinking all old weights at every step, new weights grow; quantiles do not mind a
 * common factor. Once in a while everything is scaled back.
 */
const GAMMA = 1.06 // the centre of a bin is at most 3 % away from what fell into it
const LOG_GAMMA = Math.log(GAMMA)
const BINS = 384
/** Float32 weights keep 7 digits: rescaling at 2^40 leaves nothing that a quantile could feel. */
const RESCALE_AT = 2 ** 40

export class LogHistogram {
  readonly #positive = new Float32Array(BINS)
  readonly #negative = new Float32Array(BINS)
  readonly #growth: number
  /** No bin above these is filled: most keys use a third of the range. */
  #top_positive = -1
  #top_negative = -1
  #zero = 0
  #total = 0
  #unit = 1

  /** `half_life` in steps of `decay`. */
  constructor(half_life: number) {
    this.#growth = 2 ** (1 / half_life)
  }

  /** Sum of the decayed weights: about how many recent values the sketch stands for. */
  get weight(): number {
    return this.#total / this.#unit
  }

  add(value: number): void {
    const bin = binOf(Math.abs(value))
    if (bin < 0) this.#zero += this.#unit
    else if (value > 0) {
      this.#positive[bin] = (this.#positive[bin] ?? 0) + this.#unit
      if (bin > this.#top_positive) this.#top_positive = bin
    } else {
      this.#negative[bin] = (this.#negative[bin] ?? 0) + this.#unit
      if (bin > this.#top_negative) this.#top_negative = bin
    }
    this.#total += this.#unit
  }

  /** One step of time: what was added before counts a little less. */
  decay(): void {
    this.#unit *= this.#growth
    if (this.#unit > RESCALE_AT) this.#rescale()
  }

  /** 0 for an empty sketch. */
  quantile(p: number): number {
    const { low, high } = this.band(p, p)
    return p < 0.5 ? low : high
  }

  /** Both quantiles in one walk. */
  band(low_p: number, high_p: number): { low: number; high: number } {
    let low: number | undefined
    let sum = 0
    const walk = (weight: number, value: number): boolean => {
      if (weight === 0) return false
      sum += weight
      if (low === undefined && sum >= low_p * this.#total) low = value
      return sum >= high_p * this.#total
    }
    for (let bin = this.#top_negative; bin >= 0; bin--) if (walk(this.#negative[bin] ?? 0, -valueOf(bin))) return { low: low ?? -valueOf(bin), high: -valueOf(bin) }
    if (walk(this.#zero, 0)) return { low: low ?? 0, high: 0 }
    let last = 0
    for (let bin = 0; bin <= this.#top_positive; bin++) {
      const weight = this.#positive[bin] ?? 0
      if (weight > 0) last = valueOf(bin)
      if (walk(weight, valueOf(bin))) break
    }
    return { low: low ?? last, high: last }
  }

  /** Non-empty bins as base64: what a snapshot keeps. */
  toJSON(): [number, number, number, string] {
    const filled: [number, number][] = []
    this.#negative.forEach((weight, bin) => weight > 0 && filled.push([bin + BINS, weight]))
    this.#positive.forEach((weight, bin) => weight > 0 && filled.push([bin, weight]))
    const bytes = Buffer.alloc(filled.length * 6)
    filled.forEach(([bin, weight], index) => {
      bytes.writeUInt16LE(bin, index * 6)
      bytes.writeFloatLE(weight, index * 6 + 2)
    })
    return [this.#zero, this.#total, this.#unit, bytes.toString('base64')]
  }

  static fromJSON([zero, total, unit, packed]: [number, number, number, string], half_life: number): LogHistogram {
    const histogram = new LogHistogram(half_life)
    histogram.#zero = zero
    histogram.#total = total
    histogram.#unit = unit
    const bytes = Buffer.from(packed, 'base64')
    for (let at = 0; at + 6 <= bytes.length; at += 6) {
      const bin = bytes.readUInt16LE(at)
      const side = bin >= BINS ? histogram.#negative : histogram.#positive
      side[bin % BINS] = bytes.readFloatLE(at + 2)
      if (bin < BINS) histogram.#top_positive = Math.max(histogram.#top_positive, bin)
      else histogram.#top_negative = Math.max(histogram.#top_negative, bin - BINS)
    }
    return histogram
  }

  #rescale(): void {
    const factor = 1 / this.#unit
    for (let bin = 0; bin < BINS; bin++) {
      this.#positive[bin] = (this.#positive[bin] ?? 0) * factor
      this.#negative[bin] = (this.#negative[bin] ?? 0) * factor
    }
    this.#zero *= factor
    this.#total *= factor
    this.#unit = 1
  }
}

/** -1: counts as zero. */
const binOf = (size: number): number => (size < 1 ? -1 : Math.min(BINS - 1, Math.floor(Math.log(size) / LOG_GAMMA)))
const valueOf = (bin: number): number => Math.exp((bin + 0.5) * LOG_GAMMA)
