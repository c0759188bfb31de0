/** The ASN data that comes along is CSV: packed once into sorted arrays (some 12 MB), looked up by bisection. */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freshUuid } from '../runtime/ids.ts'
import { type Address, number4, upper6 } from './address.ts'

export interface AsnTable {
  find(address: Address): { asn: number; name: string | null } | null
}

interface Packed {
  /** First and last address of a range, inclusive, ascending; asn of each. */
  start4: Uint32Array
  end4: Uint32Array
  asn4: Uint32Array
  /** Upper halves of IPv6 addresses: no route is longer than /64. */
  start6: BigUint64Array
  end6: BigUint64Array
  asn6: Uint32Array
  /** Ascending, with the names beside them. */
  asns: Uint32Array
  names: string[]
}

/** `folder` holds asn-ipv4-num.csv and asn-ipv6-num.csv; `cache_dir` keeps the packed form, keyed by size and age of the files. */
export function loadAsnTable(folder: string, cache_dir?: string): AsnTable {
  const files = ['asn-ipv4-num.csv', 'asn-ipv6-num.csv'].map((name) => join(folder, name))
  const key = createHash('sha256')
    .update(JSON.stringify(files.map((file) => [file, statSync(file).size, statSync(file).mtimeMs])))
    .digest('hex')
    .slice(0, 16)
  const cached = cache_dir === undefined ? undefined : join(cache_dir, `asn-${key}.bin`)
  const packed = (cached === undefined ? undefined : readPacked(cached)) ?? pack(files[0] ?? '', files[1] ?? '')
  if (cached !== undefined && cache_dir !== undefined) writePacked(cached, cache_dir, packed)
  return {
    find: (address) => {
      const asn = address.version === 4 ? find(packed.start4, packed.end4, packed.asn4, number4(address.text)) : find(packed.start6, packed.end6, packed.asn6, upper6(address.text))
      return asn === null || asn === 0 ? null : { asn, name: packed.names[lastAtMost(packed.asns, asn)] ?? null }
    },
  }
}

function find<N extends number | bigint>(starts: ArrayLike<N>, ends: ArrayLike<N>, asns: Uint32Array, value: N): number | null {
  const at = lastAtMost(starts, value)
  const end = ends[at]
  return end !== undefined && value <= end ? (asns[at] ?? null) : null
}

/** Index of the last element that is not greater; -1 if all are. */
function lastAtMost<N extends number | bigint>(sorted: ArrayLike<N>, value: N): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const at = sorted[middle]
    if (at !== undefined && at <= value) low = middle + 1
    else high = middle
  }
  return low - 1
}

function pack(file4: string, file6: string): Packed {
  const names = new Map<number, string>()
  const rows4 = readRows(file4, Number, names)
  const rows6 = readRows(file6, (text) => BigInt(text) >> 64n, names)
  const asns = Uint32Array.from(names.keys()).sort()
  return {
    start4: Uint32Array.from(rows4.starts),
    end4: Uint32Array.from(rows4.ends),
    asn4: Uint32Array.from(rows4.asns),
    start6: BigUint64Array.from(rows6.starts),
    end6: BigUint64Array.from(rows6.ends),
    asn6: Uint32Array.from(rows6.asns),
    asns,
    names: Array.from(asns, (asn) => names.get(asn) ?? ''),
  }
}

function readRows<N>(file: string, parse: (text: string) => N, names: Map<number, string>): { starts: N[]; ends: N[]; asns: number[] } {
  const starts: N[] = []
  const ends: N[] = []
  const asns: number[] = []
  const text = readFileSync(file, 'utf8')
  for (let at = 0; at < text.length;) {
    const stop = text.indexOf('\n', at)
    const end = stop === -1 ? text.length : stop
    const first = text.indexOf(',', at)
    const second = text.indexOf(',', first + 1)
    const third = text.indexOf(',', second + 1)
    if (first !== -1 && third !== -1 && third < end) {
      const asn = Number(text.slice(second + 1, third))
      starts.push(parse(text.slice(at, first)))
      ends.push(parse(text.slice(first + 1, second)))
      asns.push(asn)
      if (!names.has(asn))
        names.set(
          asn,
          text
            .slice(third + 1, end)
            .replace(/^"|"\r?$|\r$/g, '')
            .replaceAll('""', '"'),
        )
    }
    at = end + 1
  }
  return { starts, ends, asns }
}

const ARRAYS = ['start6', 'end6', 'start4', 'end4', 'asn4', 'asn6', 'asns'] as const // eight-byte arrays first: views need alignment

function writePacked(path: string, folder: string, packed: Packed): void {
  try {
    if (statSync(path, { throwIfNoEntry: false }) !== undefined) return
    mkdirSync(folder, { recursive: true })
    const names = Buffer.from(JSON.stringify(packed.names))
    const head = Buffer.alloc(64)
    ARRAYS.forEach((name, index) => head.writeUInt32LE(packed[name].length, index * 4))
    head.writeUInt32LE(names.length, 60)
    const parts = ARRAYS.map((name) => Buffer.from(packed[name].buffer, packed[name].byteOffset, packed[name].byteLength))
    const partial = `${path}.${freshUuid()}`
    writeFileSync(partial, Buffer.concat([head, ...parts, names]))
    renameSync(partial, path)
  } catch {
    // Only a cache: a read-only or full disk costs half a second at the next start, nothing else.
  }
}

function readPacked(path: string): Packed | undefined {
  try {
    const file = readFileSync(path)
    const bytes = file.buffer.slice(file.byteOffset, file.byteOffset + file.length)
    const head = new DataView(bytes)
    let at = 64
    const take = <A>(index: number, size: number, make: (offset: number, length: number) => A): A => {
      const length = head.getUint32(index * 4, true)
      const array = make(at, length)
      at += length * size
      return array
    }
    const start6 = take(0, 8, (offset, length) => new BigUint64Array(bytes, offset, length))
    const end6 = take(1, 8, (offset, length) => new BigUint64Array(bytes, offset, length))
    const [start4, end4, asn4, asn6, asns] = [2, 3, 4, 5, 6].map((index) => take(index, 4, (offset, length) => new Uint32Array(bytes, offset, length)))
    const names = JSON.parse(Buffer.from(bytes, at, head.getUint32(60, true)).toString('utf8')) as string[]
    return start4 && end4 && asn4 && asn6 && asns ? { start4, end4, asn4, start6, end6, asn6, asns, names } : undefined
  } catch {
    return undefined
  }
}
