/**
 * The format Native as drivers of ClickHouse's binary protocol read it over HTTP (clickhouse-go, and so Grafana's own data source).
 * They name a protocol version and expect blocks of that version; the store writes those of version 0. The difference is a header
 * in front of each block and one byte in front of each column, so all that must be known is where a column ends.
 */
import { PermanentError } from '../runtime/errors.ts'

// A block: field 1 (overflows) = 0, field 2 (bucket) = -1, end of fields.
const BLOCK_HEADER = Buffer.from([1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0])
/** From this version on a column says whether its serialisation is a special one (ClickHouse: DBMS_MIN_REVISION_WITH_CUSTOM_SERIALIZATION). */
const WITH_CUSTOM_FLAG = 54_454
const PLAIN = Buffer.from([0])

/** `blocks`: a whole answer in Native of version 0. Throws PermanentError for a type whose length cannot be told. */
export function nativeOfVersion(blocks: Buffer, version: number): Buffer {
  if (version <= 0) return blocks
  const reader = new Reader(blocks)
  const parts: Buffer[] = []
  while (reader.at < blocks.length) {
    parts.push(BLOCK_HEADER)
    const start = reader.at
    const columns = reader.varint()
    const rows = reader.varint()
    parts.push(blocks.subarray(start, reader.at))
    for (let column = 0; column < columns; column++) {
      const head = reader.at
      reader.text()
      const type = parseType(reader.text())
      parts.push(blocks.subarray(head, reader.at))
      if (version >= WITH_CUSTOM_FLAG) parts.push(PLAIN)
      if (rows === 0) continue
      const body = reader.at
      skipPrefix(reader, type)
      skipData(reader, type, rows)
      parts.push(blocks.subarray(body, reader.at))
    }
  }
  return Buffer.concat(parts)
}

class Reader {
  readonly #bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  skip(bytes: number): void {
    this.at += bytes
    if (this.at > this.#bytes.length) throw new PermanentError('the answer in Native ends in the middle of a column')
  }

  varint(): number {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = this.#bytes[this.at] ?? 0
      this.skip(1)
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }

  uint64(): number {
    const at = this.at
    this.skip(8)
    return Number(this.#bytes.readBigUInt64LE(at))
  }

  text(): string {
    const length = this.varint()
    const from = this.at
    this.skip(length)
    return this.#bytes.toString('utf8', from, this.at)
  }
}

interface Type {
  name: string
  args: readonly string[]
}

/** `Map(String, Array(UInt8))` → Map and its two arguments; commas and brackets in quotes do not count. */
function parseType(text: string): Type {
  const open = text.indexOf('(')
  if (open < 0) return { name: text, args: [] }
  const args: string[] = []
  let depth = 0
  let from = open + 1
  for (let at = open + 1; at < text.length; at++) {
    const char = text[at]
    if (char === "'" || char === '`') at = closing(text, at, char)
    else if (char === '(') depth++
    else if ((char === ',' || char === ')') && depth === 0) {
      args.push(text.slice(from, at).trim())
      from = at + 1
    } else if (char === ')') depth--
  }
  return { name: text.slice(0, open), args: args.filter((arg) => arg !== '') }
}

function closing(text: string, from: number, quote: string): number {
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === quote) return at
  }
  return text.length
}

/** Types inside a type, in the order in which they are written. */
function inner({ name, args }: Type): Type[] {
  if (name === 'Tuple' || name === 'Nested') return args.map((arg) => parseType(withoutName(arg)))
  if (name === 'Map') return args.map(parseType)
  if (name === 'SimpleAggregateFunction') return args.slice(1).map(parseType)
  return name === 'Array' || name === 'Nullable' || name === 'LowCardinality' ? args.slice(0, 1).map(parseType) : []
}

/** "name Type" → "Type"; the names of a tuple's parts are optional, and a type has no blank in front of its bracket. */
const withoutName = (arg: string): string => /^(?:`(?:[^`\\]|\\.)*`|\w+)\s+(.+)$/s.exec(arg)?.[1] ?? arg

/** What stands once in front of all data of a column. */
function skipPrefix(reader: Reader, type: Type): void {
  if (type.name === 'LowCardinality') return reader.skip(8)
  for (const part of inner(type)) skipPrefix(reader, part)
}

function skipData(reader: Reader, type: Type, rows: number): void {
  const [first, ...more] = inner(type)
  switch (type.name) {
    case 'String':
      for (let row = 0; row < rows; row++) reader.skip(reader.varint())
      return
    case 'Nullable':
      reader.skip(rows)
      return first === undefined ? undefined : skipData(reader, first, rows)
    case 'Array':
    case 'Map':
    case 'Nested': {
      if (rows === 0) return
      reader.skip((rows - 1) * 8)
      const elements = reader.uint64()
      for (const part of inner(type)) skipData(reader, part, elements)
      return
    }
    case 'Tuple':
    case 'SimpleAggregateFunction':
      if (first === undefined) return reader.skip(rows)
      for (const part of [first, ...more]) skipData(reader, part, rows)
      return
    case 'LowCardinality':
      return first === undefined ? undefined : skipDictionary(reader, first, rows)
    default:
      return reader.skip(rows * widthOf(type))
  }
}

/** Keys, then for each row the number of its key; NULL is a key of its own, so the keys are those of the plain type. */
function skipDictionary(reader: Reader, type: Type, rows: number): void {
  if (rows === 0) return
  const width = 2 ** (reader.uint64() % 256)
  const [plain] = type.name === 'Nullable' ? inner(type) : [type]
  if (plain !== undefined) skipData(reader, plain, reader.uint64())
  reader.skip(width * reader.uint64())
}

// oxfmt-ignore
const WIDTHS: Record<string, number> = { Bool: 1, Nothing: 1, Enum8: 1, Enum16: 2, BFloat16: 2, Date: 2, Date32: 4, DateTime: 4, Time: 4, DateTime64: 8, Time64: 8, IPv4: 4, IPv6: 16, UUID: 16, Point: 16 }

/** Bytes of one value. */
function widthOf({ name, args }: Type): number {
  const known = WIDTHS[name]
  if (known !== undefined) return known
  const bits = /^U?Int(\d+)$|^Float(\d+)$/.exec(name)
  if (bits !== null) return Number(bits[1] ?? bits[2]) / 8
  if (name.startsWith('Interval')) return 8
  if (name === 'FixedString') return Number(args[0])
  if (name === 'Decimal') {
    const digits = Number(args[0])
    return digits <= 9 ? 4 : digits <= 18 ? 8 : digits <= 38 ? 16 : 32
  }
  throw new PermanentError(`Code: 50. DB::Exception: a column of the type ${name} cannot be given in the format Native here: turn it into text with toString()`)
}
