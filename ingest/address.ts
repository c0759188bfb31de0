/** Addresses as logs write them: with ports, brackets, mapped IPv4, masked octets, nonsense. */
import { BlockList, isIP, SocketAddress } from 'node:net'

export interface Address {
  /** Canonical text; the network address where bits are masked. */
  text: string
  version: 4 | 6
  /** Leading bits that are known: 32 or 128, fewer where the log masks. */
  prefix: number
  /** Addresses whose answers must agree: itself, or all 256 of a masked /24; none where more is masked. */
  probes: readonly string[]
}

/**
 * undefined: no address (a service name, a scrambled one with leading zeros, an empty text). `prefix`: how many bits the format
 * knows to be right; it only shortens.
 */
export function parseAddress(raw: string, prefix: number | null = null): Address | undefined {
  // Of a chain of proxies (X-Forwarded-For) the first is the client, as shapes/address.ts has it; mappings give the chain as it stands.
  const comma = raw.indexOf(',')
  const text = withoutPort((comma === -1 ? raw : raw.slice(0, comma)).trim())
  const masked = /^(\d{1,3}\.\d{1,3}\.\d{1,3})\.(?:\*{1,3}|[xX]{1,3})$/.exec(text)
  if (masked) return parseAddress(`${masked[1]}.0`, Math.min(prefix ?? 24, 24))
  const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/i.exec(text)
  const plain = mapped?.[1] ?? text.replace(/%[\w.-]{1,32}$/, '')
  // isIP refuses leading zeros: 010.1.2.3 is octal for some programs and decimal for others, so nobody knows who that is.
  const version = isIP(plain)
  if (version === 4) return address4(plain, Math.min(prefix ?? 32, 32))
  if (version === 6) {
    const canonical = new SocketAddress({ address: plain, family: 'ipv6' }).address
    return {
      text: prefix !== null && prefix < 128 ? network6(canonical, prefix) : canonical,
      version: 6,
      prefix: Math.min(prefix ?? 128, 128),
      probes: prefix !== null && prefix < 48 ? [] : [canonical],
    }
  }
  return undefined
}

/** The same address with fewer known bits: /24 for IPv4, /48 for IPv6. */
export const truncated = (address: Address): Address =>
  address.version === 4
    ? { ...address, prefix: Math.min(address.prefix, 24), text: network4(address.text, Math.min(address.prefix, 24)) }
    : { ...address, prefix: Math.min(address.prefix, 48), text: network6(address.text, Math.min(address.prefix, 48)) }

/** Private, reserved, documentation, multicast: no country and no network can be told (IANA special-purpose registries). */
export const isSpecial = (address: Address): boolean => special.check(address.text, address.version === 4 ? 'ipv4' : 'ipv6')

function withoutPort(text: string): string {
  const bracketed = /^\[([0-9a-fA-F:.]{2,45})\](?::\d{1,5})?$/.exec(text)
  if (bracketed) return bracketed[1] ?? text
  return text.replace(/^(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}$/, '$1')
}

function address4(text: string, prefix: number): Address {
  if (prefix >= 32) return { text, version: 4, prefix: 32, probes: [text] }
  const network = network4(text, prefix)
  const base = network.slice(0, network.lastIndexOf('.'))
  return { text: network, version: 4, prefix, probes: prefix < 24 ? [] : Array.from({ length: 256 }, (_, last) => `${base}.${last}`) }
}

function network4(text: string, prefix: number): string {
  const mask = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0
  const value = (number4(text) & mask) >>> 0
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.')
}

/** 32-bit value of a dotted address. */
export const number4 = (text: string): number => text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)

/** Upper 64 bits of an IPv6 address: what routing tables go by. */
export function upper6(text: string): bigint {
  const [head = '', tail] = text.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === undefined || tail === '' ? [] : tail.split(':')
  const groups = tail === undefined ? left : [...left, ...Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0'), ...right]
  return groups.slice(0, 4).reduce((sum, group) => (sum << 16n) | BigInt(`0x${group || '0'}`), 0n)
}

function network6(text: string, prefix: number): string {
  const kept = Math.min(prefix, 64)
  const value = kept === 0 ? 0n : (upper6(text) >> BigInt(64 - kept)) << BigInt(64 - kept)
  const groups = [48n, 32n, 16n, 0n].map((shift) => ((value >> shift) & 0xffffn).toString(16))
  return new SocketAddress({ address: `${groups.join(':')}::`, family: 'ipv6' }).address
}

const special = new BlockList()
for (const range of [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/3',
]) {
  const [network = '', bits] = range.split('/')
  special.addSubnet(network, Number(bits), 'ipv4')
}
for (const range of ['::/127', '64:ff9b:1::/48', '100::/64', '2001:2::/48', '2001:db8::/32', '3fff::/20', '5f00::/16', 'fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8']) {
  const [network = '', bits] = range.split('/')
  special.addSubnet(network, Number(bits), 'ipv6')
}
