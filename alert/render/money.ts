/** Dollars are decimal strings on the wire; here they are added and shown without ever becoming a float. */

const PICO = 1_000_000_000_000n

const toPico = (usd: string): bigint => {
  const negative = usd.startsWith('-')
  const [whole = '0', fraction = ''] = (negative ? usd.slice(1) : usd).split('.')
  const pico = BigInt(whole) * PICO + BigInt(fraction.padEnd(12, '0'))
  return negative ? -pico : pico
}

const fromPico = (pico: bigint): string => {
  const size = pico < 0n ? -pico : pico
  return `${pico < 0n ? '-' : ''}${size / PICO}.${(size % PICO).toString().padStart(12, '0')}`
}

/** Sum of what is known; null when nothing is. */
export function addUsd(amounts: readonly (string | null)[]): string | null {
  const known = amounts.filter((amount) => amount !== null)
  return known.length === 0 ? null : fromPico(known.reduce((sum, amount) => sum + toPico(amount), 0n))
}

/** "$1,234.57"; amounts under a cent keep two significant digits ("$0.00042"); null reads "unknown". */
export function showUsd(usd: string | null): string {
  if (usd === null) return 'unknown'
  const pico = toPico(usd)
  const size = pico < 0n ? -pico : pico
  const sign = pico < 0n ? '-' : ''
  if (size > 0n && size < PICO / 100n) {
    const digits = size.toString().padStart(12, '0')
    const lead = digits.search(/[1-9]/)
    return `${sign}$0.${digits.slice(0, Math.min(12, lead + 2))}`
  }
  const cents = (size + PICO / 200n) / (PICO / 100n)
  const whole = (cents / 100n).toString().replace(/\B(?=(\d{3})+$)/g, ',')
  return `${sign}$${whole}.${(cents % 100n).toString().padStart(2, '0')}`
}
