/** Bytes → pieces: lines, CSV rows or JSON values, whatever the chunks. Bounded memory: a piece that is far too long is cut. */

/** `end` is the offset behind the piece in the (unpacked) stream: where to go on. */
export interface Piece {
  text: string
  end: number
}

export interface Splitter {
  push(chunk: Buffer): Piece[]
  /** What is held without its end: a last line without a line feed, a value that was cut. */
  finish(): Piece[]
}

// An envelope of CloudWatch holds at most some MB; more than this in one piece is no log, only its begin is kept (and refused as too large).
const MAX_PIECE = 16_000_000
const KEPT_OF_LONG = 1_500_000

/** Holds the bytes of an unfinished piece. */
class Held {
  #parts: Buffer[] = []
  #length = 0
  #long = false

  get empty(): boolean {
    return this.#length === 0
  }

  add(part: Buffer): void {
    if (this.#long || part.length === 0) return
    this.#parts.push(part)
    this.#length += part.length
    if (this.#length > MAX_PIECE) {
      this.#parts = [Buffer.from(Buffer.concat(this.#parts).subarray(0, KEPT_OF_LONG))]
      this.#long = true
    }
  }

  take(): string {
    const [only] = this.#parts
    const text = (this.#parts.length === 1 && only !== undefined ? only : Buffer.concat(this.#parts)).toString('utf8')
    this.#parts = []
    this.#length = 0
    this.#long = false
    return text
  }
}

const LF = 0x0a

/** Lines without their ends (LF or CRLF); empty ones are not given. `start`: offset of the first byte that is pushed. */
export function lineSplitter(start: number): Splitter {
  const held = new Held()
  let offset = start
  const give = (line: string, end: number, pieces: Piece[]): Piece[] => {
    const text = withoutReturn(line)
    if (text.trim() !== '') pieces.push({ text, end })
    return pieces
  }
  return {
    push: (chunk) => {
      const pieces: Piece[] = []
      let from = 0
      for (let at = chunk.indexOf(LF); at !== -1; at = chunk.indexOf(LF, from)) {
        // Most lines begin and end in one chunk.
        const whole = held.empty && at - from <= MAX_PIECE
        if (!whole) held.add(chunk.subarray(from, at))
        const line = whole ? chunk.toString('utf8', from, at) : held.take()
        from = at + 1
        give(line, offset + from, pieces)
      }
      held.add(chunk.subarray(from))
      offset += chunk.length
      return pieces
    },
    finish: () => (held.empty ? [] : give(held.take(), offset, [])),
  }
}

const withoutReturn = (line: string): string => (line.endsWith('\r') ? line.slice(0, -1) : line)

// A quoted cell may hold line feeds; a quote that stands alone must not swallow the file.
const MAX_QUOTED = 200_000

/** Rows: lines, joined while a quote is open. */
export function rowSplitter(start: number): Splitter {
  const lines = lineSplitter(start)
  let open: Piece[] = []
  let length = 0
  const take = (line: Piece): Piece[] => {
    const odd = oddQuotes(line.text)
    if (open.length === 0 && !odd) return [line]
    open.push(line)
    length += line.text.length
    if (odd && open.length > 1) return give([{ text: open.map((part) => part.text).join('\n'), end: line.end }])
    return length > MAX_QUOTED ? give(open) : []
  }
  const give = (rows: Piece[]): Piece[] => {
    open = []
    length = 0
    return rows
  }
  return { push: (chunk) => lines.push(chunk).flatMap(take), finish: () => [...lines.finish().flatMap(take), ...give(open)] }
}

function oddQuotes(text: string): boolean {
  let odd = false
  for (let at = text.indexOf('"'); at !== -1; at = text.indexOf('"', at + 1)) odd = !odd
  return odd
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const COMMA = 0x2c
const isBlank = (byte: number): boolean => byte === 0x20 || byte === LF || byte === 0x0d || byte === 0x09

/**
 * JSON values that follow each other, pretty-printed or not. Of an array at the top its elements are given one by one; with
 * `records` the same for the array in `{"Records":[…]}`, so that a file of any size is read in bounded memory.
 */
export function jsonSplitter(start: number, records: boolean): Splitter {
  const held = new Held()
  let offset = start
  let depth = 0
  /** Depth of the values that are given: 1 in an array, 2 in a wrapper, 0 for a whole object. */
  let level = 0
  let in_wrapper = records
  let in_value = false
  let in_string = false
  let escaped = false
  return {
    push: (chunk) => {
      const pieces: Piece[] = []
      let from = 0
      const give = (end: number): void => {
        held.add(chunk.subarray(from, end))
        in_value = false
        const text = held.take()
        if (text.trim() !== '') pieces.push({ text, end: offset + end })
      }
      for (let at = 0; at < chunk.length; at++) {
        const byte = chunk[at] ?? 0
        if (in_string) {
          if (escaped) escaped = false
          else if (byte === BACKSLASH) escaped = true
          else if (byte === QUOTE) in_string = false
          continue
        }
        if (isBlank(byte) || (byte > 0x7f && offset + at < 3)) continue // a byte order mark
        if (!in_value && depth === 0) level = byte === OPEN_ARRAY ? 1 : in_wrapper && byte === OPEN_OBJECT ? 2 : 0
        const closing = byte === CLOSE_ARRAY || byte === CLOSE_OBJECT
        if (!in_value && depth === level && byte !== COMMA && !closing && !(level > 0 && depth === 0)) {
          in_value = true
          from = at
        }
        if (byte === QUOTE) in_string = true
        else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) depth++
        else if (closing) {
          if (in_value && depth === level) give(at) // a number or word before the bracket
          depth = Math.max(0, depth - 1)
          if (in_value && depth === level) give(at + 1)
          // What follows the array of a wrapper is not ours; the next value at the top is looked at afresh.
          else if (!in_value && level === 2 && depth < 2) level = Infinity
          if (depth === 0 && !in_value) {
            level = 0
            in_wrapper = false
          }
        } else if (byte === COMMA && in_value && depth === level) give(at)
      }
      if (in_value) held.add(chunk.subarray(from))
      offset += chunk.length
      return pieces
    },
    finish: () => {
      const text = held.empty ? '' : held.take()
      return text.trim() === '' ? [] : [{ text, end: offset }]
    },
  }
}
