/** Dollars of events as bigint pico-dollars: sums are exact. Numbers appear only where statistics look at them. */

/** Two decimals, for sentences. Rounds half up. */
export function shortUsd(pico: bigint): string {
  const cents = (pico + 5_000_000_000n) / 10_000_000_000n
  return `${cents / 100n}.${(cents % 100n).toString().padStart(2, '0')}`
}

/** Micro-dollars as a number: the unit in which statistics look at money. */
export const microOf = (pico: bigint): number => Number(pico) / 1e6

/** What a minute costs if `pico` was spent between two events; less than a minute counts as one. */
export const perMinute = (pico: bigint, first: number, last: number): bigint => (pico * 60_000n) / BigInt(Math.max(60_000, last - first))
