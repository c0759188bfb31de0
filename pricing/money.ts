/** Money is whole pico-dollars (10^-12 USD) in bigint and decimal text outside: exact, and equal to Decimal(38,12) in ClickHouse. */

const DECIMALS = 12
const UNIT = 10n ** BigInt(DECIMALS)
const ZERO = 0x30

/** "4.2" for 4200000000000n; no exponent, no trailing zeros, "0" for zero. */
export function picoToUsd(pico: bigint): string {
  const digits = (pico < 0n ? -pico : pico).toString().padStart(DECIMALS + 1, '0')
  const point = digits.length - DECIMALS
  let end = digits.length
  while (end > point && digits.charCodeAt(end - 1) === ZERO) end--
  const amount = end === point ? digits.slice(0, point) : `${digits.slice(0, point)}.${digits.slice(point, end)}`
  return pico < 0n ? `-${amount}` : amount
}

/** Throws RangeError for anything but a plain decimal with at most 12 decimals. */
export function usdToPico(text: string): bigint {
  const [, sign, whole, fraction = ''] = /^(-?)(\d+)(?:\.(\d{1,12}))?$/.exec(text) ?? []
  if (whole === undefined) throw new RangeError(`not an amount of at most ${DECIMALS} decimals: ${text}`)
  const pico = BigInt(whole) * UNIT + BigInt(fraction.padEnd(DECIMALS, '0'))
  return sign === '-' ? -pico : pico
}

/** `pico x numerator / denominator`, half to even: for discounts, once, when a book is loaded. */
export function scalePico(pico: bigint, numerator: bigint, denominator: bigint): bigint {
  const product = pico * numerator
  const quotient = product / denominator
  const twice = (product % denominator) * 2n
  return twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient
}
