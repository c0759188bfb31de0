/** How unlikely a count is. Upper tails, exact enough down to 1e-300 because everything is summed in logarithms. */

/** P(X >= count) for a Poisson mean. */
export function poissonTail(count: number, mean: number): number {
  if (count <= 0) return 1
  if (mean <= 0) return 0
  // Below the mean the tail is the big part: one minus the small one.
  if (count <= mean) return 1 - sumDown(Math.ceil(count) - 1, (k) => k / mean, logPoisson(Math.ceil(count) - 1, mean))
  return sumUp(Math.ceil(count), (k) => mean / (k + 1), logPoisson(Math.ceil(count), mean))
}

/**
 * P(X >= count) where the rate is only known as Gamma(shape, rate): the negative binomial that a Poisson count has when its rate
 * was learnt from `shape` events in `rate` units of time. For sparse keys: with a mean of 0.2 per bucket a band is meaningless.
 */
export function gammaPoissonTail(count: number, shape: number, rate: number): number {
  if (count <= 0) return 1
  const p = 1 / (rate + 1)
  const from = Math.ceil(count)
  const log = logGamma(shape + from) - logGamma(shape) - logGamma(from + 1) + shape * Math.log(1 - p) + from * Math.log(p)
  return Math.min(
    1,
    sumUp(from, (k) => ((shape + k) / (k + 1)) * p, log),
  )
}

/** The smallest count whose tail is below `level`. */
export function gammaPoissonBound(level: number, shape: number, rate: number): number {
  let high = Math.max(1, Math.ceil(shape / rate))
  while (gammaPoissonTail(high, shape, rate) >= level) high *= 2
  let low = Math.floor(high / 2)
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2)
    if (gammaPoissonTail(middle, shape, rate) >= level) low = middle
    else high = middle
  }
  return high
}

/** Terms k = from, from+1, … given ln of the first and the ratio term(k+1)/term(k). */
function sumUp(from: number, ratio: (k: number) => number, log_first: number): number {
  let term = 1
  let sum = 1
  for (let k = from; k < from + 20_000; k++) {
    term *= ratio(k)
    sum += term
    if (term < sum * 1e-15) break
  }
  return Math.exp(log_first + Math.log(sum))
}

function sumDown(from: number, ratio: (k: number) => number, log_first: number): number {
  let term = 1
  let sum = 1
  for (let k = from; k > 0; k--) {
    term *= ratio(k)
    sum += term
    if (term < sum * 1e-15) break
  }
  return from < 0 ? 0 : Math.min(1, Math.exp(log_first + Math.log(sum)))
}

const logPoisson = (k: number, mean: number): number => k * Math.log(mean) - mean - logGamma(k + 1)

/** ln Γ(x), x > 0, by Stirling's series after shifting x above 8: error below 1e-12. */
export function logGamma(x: number): number {
  let shift = 0
  let y = x
  while (y < 8) shift += Math.log(y++)
  const inverse = 1 / (y * y)
  const series = (1 / 12 - inverse * (1 / 360 - inverse * (1 / 1260 - inverse * (1 / 1680 - inverse / 1188)))) / y
  return (y - 0.5) * Math.log(y) - y + 0.918_938_533_204_672_7 + series - shift
}
